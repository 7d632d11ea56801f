"""Parameters that several routes share."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import InvalidRequest, word

_MAX_STOP_LENGTH = 1024


_MAX_IGNORED_NAMES = 32


class StreamOptions(msgspec.Struct):
    """The `stream_options` of a request."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


def stop_strings(given: str | list[str] | None, *, most: int) -> tuple[str, ...]:
    """The strings of `stop`. Raises InvalidRequest for too many, empty or endless ones."""
    stop = (given,) if isinstance(given, str) else tuple(given or ())
    if len(stop) > most or not all(0 < len(s) <= _MAX_STOP_LENGTH for s in stop):
        raise InvalidRequest(
            f"'stop' takes up to {most} strings of 1 to {_MAX_STOP_LENGTH} characters.",
            code="unsupported_value",
            param="stop",
        )
    return stop


def ignored_parameters(data: dict[str, Any], carried_out: frozenset[str]) -> tuple[str, ...]:
    """The given parameters that have no effect; only names that fit into a header."""
    names = [
        name
        for name, value in data.items()
        if value is not None
        and name not in carried_out
        and word(name) == name
        and name.replace("-", "_").isidentifier()
    ]
    return tuple(names[:_MAX_IGNORED_NAMES])


def missing_parameter(param: str) -> InvalidRequest:
    """What to raise for a parameter that is not there."""
    return InvalidRequest(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )
