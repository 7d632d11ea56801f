"""A request's body -> a JSON object, strictly, and then into a declared shape.

Refused, each with a clear 400: what is not JSON (NaN and lone surrogates included, RFC
8259), what is nested too deeply, objects that name a member twice, since two parsers on the
way could then see two different requests, and crowds of values that would take long to read.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from gateway.errors import InvalidRequest, word

_Shape = TypeVar("_Shape", bound=msgspec.Struct)

_FAULT = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_ENUM = re.compile(r"(Invalid enum value )'(.*)'", re.DOTALL)
# No conversation that fits into a prompt has so many quotes and commas, its texts included;
# and so many values are read in less than a tenth of a second, in which nobody else is
# served. Without a limit twenty megabytes of [],[],[] would take two seconds.
_MOST_MARKS = 400_000
_HARMLESS = 800_000  # bytes that take less than that in any case, and are not looked through
_MISSING = re.compile(r"Object missing required field `(.*)`")


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises InvalidRequest (`invalid_json`, or `context_length_exceeded` when there is too much).
    """
    if len(raw) > _HARMLESS and raw.count(b'"') + raw.count(b",") > _MOST_MARKS:
        raise InvalidRequest(
            f"The request is too long: its body has more than {_MOST_MARKS} quotes and commas.",
            code="context_length_exceeded",
        )
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {_reason(raw, error)}.", code="invalid_json"
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    if not _members_add_up(raw, value):
        _refuse_duplicates(raw)
    return value


def _members_add_up(raw: bytes, value: dict[str, Any]) -> bool:
    """Whether the body certainly names as many members as the object has.

    A member that was dropped, because its name came twice, leaves quotes in the body that
    the object cannot account for. Where a quote is written by its number that cannot be told
    by counting, and the answer is no. Counting single bytes is the fastest look there is at
    a large body.
    """
    return b"u0022" not in raw and raw.count(b'"') == _count_quotes(value)


def convert(value: dict[str, Any], kind: type[_Shape]) -> _Shape:
    """The object as a Struct. Raises InvalidRequest that names the field at fault."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        match = _FAULT.fullmatch(str(error))
        assert match is not None
        what = match["what"]
        # Members without declared names appear as [...]; what holds them is named then.
        path = (match["path"] or "").lstrip(".").partition("[...]")[0]
        if missing := _MISSING.fullmatch(what):
            path = f"{path}.{missing[1]}".lstrip(".")
            raise InvalidRequest(
                f"Missing required parameter: '{path}'.",
                code="missing_required_parameter",
                param=path,
            ) from None
        code = "unsupported_value" if what.startswith("Invalid enum") else "invalid_type"
        if unknown := _ENUM.fullmatch(what):
            what = f"{unknown[1]}'{word(unknown[2])}'"
        raise InvalidRequest(
            f"Invalid value for '{path}': {what[:1].lower()}{what[1:300]}.", code=code, param=path
        ) from None


def _reason(raw: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if re.search(rb"\\u[dD][89a-fA-F]", raw):
        return "it is broken, or holds half of a surrogate pair"
    if not raw.strip():
        return "it is empty"
    return str(error).removeprefix("JSON is malformed: ").lower()[:200]


def _count_quotes(value: Any) -> int:
    """How many quotes the value is written with: two round each string, and those in it."""
    count, stack = 0, [value]
    while stack:
        value = stack.pop()
        if type(value) is str:
            count += 2 + value.count('"')
        elif type(value) is dict:
            for name in value:
                count += 2 + name.count('"')
            stack.extend(value.values())
        elif type(value) is list:
            stack.extend(value)
    return count


def _refuse_duplicates(raw: bytes) -> None:
    """Parse again, slowly, to see and name a member that is there twice."""
    guilty: dict[int, str] = {}

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in members:
            if name in result:
                guilty[id(result)] = name
            result[name] = value
        return result

    try:
        value = json.loads(raw, object_pairs_hook=pairs)
    except RecursionError:
        raise InvalidRequest(
            "The body is not valid JSON: it is nested too deeply.", code="invalid_json"
        ) from None
    if guilty:
        path = _path_of(value, guilty) or word(next(iter(guilty.values())))
        raise InvalidRequest(
            f"The body is not valid JSON: '{path[:200]}' is given twice.",
            code="invalid_json",
            param=path[:200],
        )


def _path_of(root: Any, guilty: dict[int, str]) -> str | None:
    stack: list[tuple[Any, str]] = [(root, "")]
    while stack:
        value, path = stack.pop()
        if id(value) in guilty and isinstance(value, dict):
            return f"{path}.{word(guilty[id(value)])}".removeprefix(".")
        if isinstance(value, dict):
            stack.extend((inner, f"{path}.{word(name)}") for name, inner in value.items())
        elif isinstance(value, list):
            stack.extend((inner, f"{path}[{i}]") for i, inner in enumerate(value))
    return None
