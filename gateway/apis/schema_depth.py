"""Limits how deeply the JSON schema of an answer is nested."""

from __future__ import annotations

from typing import Any

from gateway.errors import InvalidRequest

_MAX_DEPTH = 100  # levels of a schema: encoding it later must not hit the recursion limit


def check_schema_depth(schema: Any, path: str) -> None:
    """Raise InvalidRequest for a schema with too many levels. path: where it is in the request."""
    level = [schema] if schema else []
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, (dict, list))
        ]
    if level:
        raise InvalidRequest(
            f"'{path}' is nested more than {_MAX_DEPTH} levels deep.",
            code="unsupported_value",
            param=path,
        )
