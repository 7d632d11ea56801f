"""Serves the model list."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from emulator.calls import WrittenCall
from emulator.errors import detail, nginx_page
from emulator.state import EmulatorState


def model(selection: str, display: str, order: int, *, default: bool = False) -> dict[str, Any]:
    """Return one item of a section of the model list."""
    return {
        "selection_name": selection,
        "display_name": display,
        "is_default": default,
        "order": order,
    }


# Not in their order of preference: sorting is the client's task.
DEFAULT_MODELS: dict[str, Any] = {
    "chat": [
        model("S2", "DeepSeek V3", 95),
        model("S1", "Default", 100, default=True),
        model("S3", "DeepSeek R1", 90),
    ],
    "agent": [model("S5", "Default", 100, default=True)],
}

ODD_MODELS: dict[str, Any] = {
    "chat": [
        {"display_name": "no selection name"},
        {"selection_name": "S9", "display_name": "", "is_default": None, "order": "7"},
        "junk",
    ]
}

DUPLICATE_MODELS: dict[str, Any] = {
    "chat": [
        model("S1", "Default", 100, default=True),
        model("S2", "DeepSeek V3", 95),
        model("S7", "DeepSeek V3", 90),
        model("S2", "DeepSeek V3", 95),
    ],
    "agent": [model("S5", "Default", 100, default=True), model("S6", "DeepSeek V3", 80)],
}


async def models(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Return the `chat` and `agent` sections; access token as bearer in."""
    scenarios = state.bearer(call, "access").scenarios
    if "models_slow" in scenarios:
        await state.pause(state.slow)
    if "models_404" in scenarios:
        return detail(404, "Not Found")
    if "models_html" in scenarios:
        return web.Response(text=nginx_page(504), content_type="text/html")
    if "models_odd" in scenarios:
        return web.json_response(ODD_MODELS)
    if "models_duplicates" in scenarios:
        return web.json_response(DUPLICATE_MODELS)
    return web.json_response(state.models)
