"""Lists the models that Fitten offers (protocol 5), in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from gateway.config.settings import longest_pattern
from gateway.errors import NotFound
from gateway.generation.model import Model
from gateway.redaction import word

_SECTIONS: tuple[Literal["chat"], Literal["agent"]] = ("chat", "agent")

DEFAULT_MODEL = Model("fitten-code", "Fitten Code", None, "chat", is_default=True)

_TAG = ":latest"
_MAX_NAME = 256  # characters of a name that is compared with patterns
_MAX_LISTED = 20  # names in the error for an unknown model

# The models of protocol 5 for the case that Fitten sends no list.
_FALLBACK = {
    "chat": [
        {"selection_name": "S1", "display_name": "Default", "is_default": True, "order": 100},
        {"selection_name": "S2", "display_name": "DeepSeek V3", "order": 95},
        {"selection_name": "S3", "display_name": "DeepSeek R1", "order": 90},
    ],
    "agent": [{"selection_name": "S5", "display_name": "Default", "is_default": True}],
}


class ModelCatalog:
    """Holds the models on offer; `fitten-code`, Fitten's own default, is always first.

    The id of a model is its display name. If an earlier model has that id already, the section
    is put before it (`agent/Default`). Clients may use ids, also with `-` in place of blanks,
    display names and selection names, in upper or lower case. Clients of Ollama's dialect add
    `:latest` to any of them.

    aliases: by pattern of a name that no model has, the name of the model to use.
    """

    def __init__(self, aliases: Mapping[str, str] = MappingProxyType({})) -> None:
        self._aliases = {pattern.casefold(): name for pattern, name in aliases.items()}
        self.replace(parse_models(_FALLBACK))

    def replace(self, models: Sequence[Model]) -> None:
        """Replace the models on offer, except `fitten-code`."""
        self.models = (DEFAULT_MODEL, *models)
        self._by_name: dict[str, Model] = {}
        for name in ("id", "display_name", "selection_name", "typed_id"):
            for model in self.models:
                if key := getattr(model, name):
                    self._by_name.setdefault(key.casefold(), model)

    def resolve(self, name: str | None) -> Model:
        """Return the model with this name; None means the default. Raises NotFound."""
        if name is None:
            return DEFAULT_MODEL
        model = self._by_name.get(name.casefold())
        if model is not None:
            return model
        short = _without_tag(name)
        if short is not name and (model := self._by_name.get(short.casefold())) is not None:
            return model
        alias = self._alias_of(name, short)
        model = None if alias is None else self._by_name.get(alias.casefold())
        if model is None:
            raise self._not_found(name, alias)
        return model

    def _alias_of(self, *names: str) -> str | None:
        """Return the name that stands for an unknown model with these names, if there is one."""
        if len(names[0]) > _MAX_NAME:
            return None
        found = [longest_pattern(name.casefold(), self._aliases) for name in names]
        pattern = max((pattern for pattern in found if pattern), key=len, default=None)
        return None if pattern is None else self._aliases[pattern]

    def _not_found(self, name: str, alias: str | None) -> NotFound:
        """Return the error for an unknown model, with the names of those that exist."""
        which = f"The model '{word(name)}'"
        if alias is not None:
            which += f", for which models.aliases has '{word(alias)}',"
        names = [word(model.typed_id) for model in self.models[:_MAX_LISTED]]
        if len(self.models) > _MAX_LISTED:
            names.append(f"and {len(self.models) - _MAX_LISTED} more: see GET /v1/models")
        return NotFound(
            f"{which} does not exist. Models: {', '.join(names)}.",
            code="model_not_found",
            param="model",
        )


def _without_tag(name: str) -> str:
    """Return a name without the tag of Ollama that says nothing; the same object without it."""
    return name[: -len(_TAG)] if name[-len(_TAG) :].casefold() == _TAG else name


def parse_models(answer: dict[str, Any]) -> list[Model]:
    """Return the models of Fitten's answer, best first; malformed items are skipped (trap 28)."""
    models: list[Model] = []
    taken = {DEFAULT_MODEL.id.casefold()}
    for section in _SECTIONS:
        listed = answer.get(section)
        items = [item for item in listed if _is_model(item)] if isinstance(listed, list) else []
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


def _is_model(item: object) -> bool:
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
