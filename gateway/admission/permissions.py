"""Decides which models and routes a sender may use."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from gateway.errors import ModelNotAllowed, RouteNotAllowed
from gateway.generation.model import Model
from gateway.principal import Principal
from gateway.redaction import word

_MAX_SHOWN = 20  # names in a message


def check_model(principal: Principal | None, model: Model) -> None:
    """Raise ModelNotAllowed if the sender may not use a model.

    The model is what aliases lead to, so no other name of it gets round the list.
    """
    if principal is None or principal.models is None or _has(principal.models, model):
        return
    raise ModelNotAllowed(
        f"This API key may not use the model '{word(model.typed_id)}'. "
        f"It may use {_listed(principal.models, 'model')}."
    )


def check_route(principal: Principal | None, route: str) -> None:
    """Raise RouteNotAllowed if the sender may not use a route. route: one of `ROUTE_NAMES`."""
    if principal is None or principal.routes is None or route in principal.routes:
        return
    raise RouteNotAllowed(
        f"This API key may not be used for {route}. "
        f"It may be used for {_listed(principal.routes, 'route')}."
    )


def allowed_models(principal: Principal | None, models: Sequence[Model]) -> Sequence[Model]:
    """Return those of the models that the sender may use."""
    if principal is None or principal.models is None:
        return models
    return [model for model in models if _has(principal.models, model)]


def _has(names: frozenset[str], model: Model) -> bool:
    return model.typed_id in _typed(names)


@functools.lru_cache(maxsize=1024)
def _typed(names: frozenset[str]) -> frozenset[str]:
    """Return names as ids are easy to type: those who write a list may write either form."""
    return frozenset("-".join(name.lower().split()) for name in names)


def _listed(names: frozenset[str], what: str) -> str:
    shown = sorted(word(name) for name in _typed(names))
    if not shown:
        return f"no {what} at all"
    more = f" and {len(shown) - _MAX_SHOWN} more" if len(shown) > _MAX_SHOWN else ""
    return ", ".join(shown[:_MAX_SHOWN]) + more
