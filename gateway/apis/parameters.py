"""Reads the parameters that the routes of several dialects share."""

from __future__ import annotations

import itertools
from typing import Any

from gateway.errors import InvalidRequest
from gateway.redaction import word

# Editors send the markers of all models as stop strings.
_MAX_STOP = 64
_MAX_STOP_LENGTH = 1024  # characters
_MAX_IGNORED_NAMES = 32

# Some languages write every number with a point: 1 arrives as 1.0.
WholeNumber = int | float


def stop_strings(given: str | list[str | None] | None, param: str = "stop") -> tuple[str, ...]:
    """Read stop strings, each once; empty ones are left out, since they say nothing.

    param: the parameter's name. Raises InvalidRequest when there are too many, or one is too long.
    """
    if given is None:
        return ()
    texts = [given] if isinstance(given, str) else given
    stop = tuple(dict.fromkeys([text for text in texts if text]))
    if len(stop) > _MAX_STOP or [text for text in stop if len(text) > _MAX_STOP_LENGTH]:
        raise InvalidRequest(
            f"'{param}' takes up to {_MAX_STOP} strings of up to {_MAX_STOP_LENGTH} characters.",
            code="unsupported_value",
            param=param,
        )
    return stop


def whole_number(given: WholeNumber, param: str) -> int:
    """Return a whole number, which may be written as 1.0. Raises InvalidRequest for a fraction."""
    if given != (number := int(given)):
        raise InvalidRequest(
            f"'{param}' must be a whole number, not a fraction.", code="invalid_type", param=param
        )
    return number


def ignored_parameters(data: dict[str, Any], supported: frozenset[str]) -> tuple[str, ...]:
    """Return the names of given parameters that have no effect, where a header can hold them."""
    if data.keys() <= supported:
        return ()
    names = (
        name
        for name, value in data.items()
        if value is not None
        and name not in supported
        and word(name) == name
        and name.replace("-", "_").isidentifier()
    )
    return tuple(itertools.islice(names, _MAX_IGNORED_NAMES))


def missing_parameter(param: str, hint: str = "") -> InvalidRequest:
    """Return the error for a required parameter that is missing. hint: a further sentence."""
    return InvalidRequest(
        f"Missing required parameter: '{param}'.{hint}",
        code="missing_required_parameter",
        param=param,
    )


def unsupported(param: str, wanted: str) -> InvalidRequest:
    """Return the error for a value that is not among those that are allowed."""
    return InvalidRequest(f"'{param}' must be {wanted}.", code="unsupported_value", param=param)
