"""Says which route a body is for, when it lacks what its route requires."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The member by which a route's bodies are known.
_ROUTES = {
    "messages": "/v1/chat/completions",
    "input": "/v1/responses",
    "prompt": "/v1/completions",
    "input_prefix": "/infill",
}


def route_hint(data: Mapping[str, Any], missing: str) -> str:
    """Return a sentence that names the route of a body without `missing`, or nothing."""
    if missing in _ROUTES:
        for name, route in _ROUTES.items():
            if data.get(name) is not None:
                return f" A body with '{name}' is for {route}."
    return ""
