"""Which route a body is for."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.apis.route_hints import route_hint


@pytest.mark.parametrize(
    ("body", "missing", "route"),
    [
        ({"prompt": "hi"}, "messages", "/v1/completions"),
        ({"input": "hi"}, "prompt", "/v1/responses"),
        ({"messages": []}, "prompt", "/v1/chat/completions"),
        ({"messages": []}, "input", "/v1/chat/completions"),
        ({"input_prefix": ""}, "messages", "/infill"),
    ],
)
def test_the_route_of_a_body_is_named(body: dict[str, Any], missing: str, route: str) -> None:
    assert route_hint(body, missing).endswith(f" is for {route}.")


@pytest.mark.parametrize(
    ("body", "missing"),
    [({}, "messages"), ({"prompt": None}, "messages"), ({"prompt": "hi"}, "messages[0].role")],
)
def test_without_a_sign_there_is_no_hint(body: dict[str, Any], missing: str) -> None:
    assert route_hint(body, missing) == ""
