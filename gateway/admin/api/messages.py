"""Converts what came as an object to a type, strictly: an unknown member is a mistake.

The command line without a gateway uses it too, so that both name a mistake in the same words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gateway.errors import InvalidRequest
from gateway.redaction import word

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")

Message = TypeVar("Message", bound=msgspec.Struct)


def strict(value: Mapping[str, Any], kind: type[Message], *, texts: bool = False) -> Message:
    """Convert an object to a type whose struct forbids unknown members.

    texts: whether all values are texts, so that `5` is a number as well.
    Raises InvalidRequest that names the member which is wrong.
    """
    try:
        return msgspec.convert(value, kind, strict=not texts)
    except msgspec.ValidationError as error:
        what, found, path = str(error).rpartition(" - at `$")
        if not found:
            what, path = str(error), ""
        path = path.removesuffix("`").lstrip(".")
    # The text may quote a member's name, but no value.
    if match := _UNKNOWN.fullmatch(what):
        path = f"{path}.{word(match[1])}".lstrip(".")
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        more = f" Known: {known}." if "." not in path and known else ""
        raise fault_of(path, f"There is no member '{path}'.{more}")
    if match := _MISSING.fullmatch(what):
        path = f"{path}.{match[1]}".lstrip(".")
        raise fault_of(path, f"'{path}' is missing.", code="missing_required_parameter")
    if what.startswith("Invalid enum value"):  # it quotes what was sent
        what = "not one of the allowed values"
    raise fault_of(path, f"'{path}' is wrong: {what[:1].lower()}{what[1:300]}.")


def fault_of(param: str, message: str, *, code: str = "invalid_value") -> InvalidRequest:
    """Return the error of a member, a parameter or a header that is wrong."""
    return InvalidRequest(message, code=code, param=param)
