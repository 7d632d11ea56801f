"""The models that Fitten offers (protocol 5), kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from gateway.errors import NotFound, word
from gateway.generation.model import Model

_SECTIONS: tuple[Literal["chat"], Literal["agent"]] = ("chat", "agent")

DEFAULT_MODEL = Model("fitten-code", "Fitten Code", None, "chat", is_default=True)

# What protocol 5 names for the case that the upstream gives no list.
_FALLBACK = {
    "chat": [
        {"selection_name": "S1", "display_name": "Default", "is_default": True, "order": 100},
        {"selection_name": "S2", "display_name": "DeepSeek V3", "order": 95},
        {"selection_name": "S3", "display_name": "DeepSeek R1", "order": 90},
    ],
    "agent": [{"selection_name": "S5", "display_name": "Default", "is_default": True}],
}


class ModelCatalog:
    """The models on offer; `fitten-code`, the service's own default, is always first.

    An id is the display name; where an earlier model has that already, the section is
    put before it (`agent/Default`). Callers may use ids, display names and selection
    names, in any case.
    """

    def __init__(self) -> None:
        self.replace(parse_models(_FALLBACK))

    def replace(self, models: Sequence[Model]) -> None:
        """Offer these from now on."""
        self.models = (DEFAULT_MODEL, *models)
        self._by_name: dict[str, Model] = {}
        for name in ("id", "display_name", "selection_name"):
            for model in self.models:
                if key := getattr(model, name):
                    self._by_name.setdefault(key.casefold(), model)

    def resolve(self, name: str | None) -> Model:
        """The model of a name; None is the default. Raises NotFound."""
        if name is None:
            return DEFAULT_MODEL
        model = self._by_name.get(name.casefold())
        if model is None:
            raise NotFound(
                f"The model '{word(name)}' does not exist; GET /v1/models lists those that do.",
                code="model_not_found",
                param="model",
            )
        return model


def parse_models(answer: dict[str, Any]) -> list[Model]:
    """The models in the upstream's answer, best first; whatever is odd is left out (trap 28)."""
    models: list[Model] = []
    taken = {DEFAULT_MODEL.id.casefold()}
    for section in _SECTIONS:
        listed = answer.get(section)
        items = [item for item in listed if _usable(item)] if isinstance(listed, list) else []
        items.sort(key=lambda item: (item.get("is_default") is not True, -_order(item)))
        for item in items:
            selection = item["selection_name"]
            display = item.get("display_name")
            display = display if isinstance(display, str) and display else selection
            for name in (display, f"{section}/{display}", f"{section}/{selection}"):
                if name.casefold() not in taken:
                    taken.add(name.casefold())
                    models.append(
                        Model(
                            name,
                            display,
                            selection,
                            section,
                            item.get("is_default") is True,
                        )
                    )
                    break
    return models


def _usable(item: object) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("selection_name"), str)
        and bool(item["selection_name"])
    )


def _order(item: dict[str, Any]) -> float:
    try:
        return float(item.get("order") or 0)
    except (TypeError, ValueError):
        return 0.0
