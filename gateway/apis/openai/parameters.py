"""Reads the parameters that several routes share."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import InvalidRequest
from gateway.redaction import word

_MAX_STOP_LENGTH = 1024  # characters
_MAX_IGNORED_NAMES = 32


class StreamOptions(msgspec.Struct):
    """Declares the `stream_options` of a request."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


def stop_strings(given: str | list[str] | None, *, most: int) -> tuple[str, ...]:
    """Read the strings of `stop`, at most `most` of them.

    Raises InvalidRequest when there are more, or one is empty or too long.
    """
    if given is None:
        return ()
    stop = (given,) if isinstance(given, str) else tuple(given)
    if len(stop) > most or not all(0 < len(s) <= _MAX_STOP_LENGTH for s in stop):
        raise InvalidRequest(
            f"'stop' takes up to {most} strings of 1 to {_MAX_STOP_LENGTH} characters.",
            code="unsupported_value",
            param="stop",
        )
    return stop


def ignored_parameters(data: dict[str, Any], supported: frozenset[str]) -> tuple[str, ...]:
    """Return the names of given parameters that have no effect, where a header can hold them."""
    names = [
        name
        for name, value in data.items()
        if value is not None
        and name not in supported
        and word(name) == name
        and name.replace("-", "_").isidentifier()
    ]
    return tuple(names[:_MAX_IGNORED_NAMES])


def missing_parameter(param: str) -> InvalidRequest:
    """Return the error for a required parameter that is missing."""
    return InvalidRequest(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )
