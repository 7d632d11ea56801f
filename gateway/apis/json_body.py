"""Parses a request's body: strict JSON -> an object -> a declared struct.

These bodies are refused with 400:
- what is not JSON (RFC 8259), NaN and lone surrogates included;
- what is nested too deeply;
- objects with a member twice: two parsers could then see two different requests;
- bodies with so many values that parsing would take long.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from gateway.errors import InvalidRequest
from gateway.redaction import word

_Struct = TypeVar("_Struct", bound=msgspec.Struct)

_FAULT = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_TYPES = re.compile(r"Expected `([\w |]+)`, got `(\w+)`")
# The names of JSON's types (RFC 8259) for those of the parser. The parser takes true and false
# for no number.
_WANTED = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}
_GIVEN = _WANTED | {"int": "a number", "bool": "a boolean", "null": "null"}
# While a body is parsed, no other request is served. A body within the limit takes less than
# 0.1 s; without a limit 20 MB of [],[],[] would take two seconds. A conversation that fits
# into a prompt has fewer quotes and commas, even with those in its texts.
_MAX_MARKS = 400_000  # quotes and commas
_UNCOUNTED_SIZE = 800_000  # bytes; a body up to this size is quick in any case
_MISSING = re.compile(r"Object missing required field `(.*)`")


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse the JSON object in a body.

    Raises InvalidRequest: `invalid_json`, or `context_length_exceeded` for too many values.
    """
    if len(raw) > _UNCOUNTED_SIZE and raw.count(b'"') + raw.count(b",") > _MAX_MARKS:
        raise InvalidRequest(
            f"The request is too long: its body has more than {_MAX_MARKS} quotes and commas.",
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
    if not _has_no_duplicates(raw, value):
        _refuse_duplicates(raw)
    return value


def _has_no_duplicates(raw: bytes, value: dict[str, Any]) -> bool:
    """Return whether the body certainly names no member twice; False when it is not known.

    The parser keeps one of two members with the same name. The body then has more quotes
    than the parsed object needs. A quote that is written as `\\u0022` makes the count
    useless. Counting single bytes is the fastest check of a large body.
    """
    return b"u0022" not in raw and raw.count(b'"') == _count_quotes(value)


def convert(value: dict[str, Any], kind: type[_Struct]) -> _Struct:
    """Convert an object to a struct. Raises InvalidRequest that names the wrong field."""
    try:
        return msgspec.convert(value, kind)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        match = _FAULT.fullmatch(str(error))
        assert match is not None
        what = match["what"]
        path = (match["path"] or "").lstrip(".")
        if missing := _MISSING.fullmatch(what):
            path = f"{path}.{missing[1]}".lstrip(".")
            raise InvalidRequest(
                f"Missing required parameter: '{path}'.",
                code="missing_required_parameter",
                param=path,
            ) from None
        raise InvalidRequest(
            f"'{path}' must be {_wanted(what)}.", code="invalid_type", param=path
        ) from None


def _wanted(fault: str) -> str:
    """Return what a value must be and what it is, in the words of JSON."""
    match = _TYPES.fullmatch(fault)
    if match is None:
        return f"different: {fault[:1].lower()}{fault[1:300]}"
    kinds = match[1].split(" | ")
    if "int" in kinds and "float" in kinds:
        kinds.remove("float")  # a whole number may be written as 1.0
    # null stands for "not given" wherever it is allowed.
    *others, last = [_WANTED.get(kind, kind) for kind in kinds if kind != "null"]
    wanted = f"{', '.join(others)} or {last}" if others else last
    return f"{wanted}, not {_GIVEN.get(match[2], match[2])}"


def json_text(value: Any) -> str:
    """Return a value of a body as JSON text. Raises InvalidRequest if it is nested too deeply."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> InvalidRequest:
    return InvalidRequest(
        "The body is not valid JSON: it is nested too deeply.", code="invalid_json"
    )


def type_name(value: Any) -> str:
    """Return the type of a JSON value, with its article."""
    if value is None:
        return "null"
    names = {bool: "bool", int: "int", float: "float", str: "str", list: "array"}
    return _GIVEN[names.get(type(value), "object")]


def _reason(raw: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if re.search(rb"\\u[dD][89a-fA-F]", raw):
        return "it is malformed, or has half of a surrogate pair"
    if not raw.strip():
        return "it is empty"
    return str(error).removeprefix("JSON is malformed: ").lower()[:200]


def _count_quotes(value: Any) -> int:
    """Return how many quotes the value has as JSON: two around each string, and those in it."""
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
    """Parse again, with the slow parser that sees members twice. Raises InvalidRequest."""
    duplicates: dict[int, str] = {}  # by the id of the object that has the member

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in members:
            if name in result:
                duplicates[id(result)] = name
            result[name] = value
        return result

    try:
        value = json.loads(raw, object_pairs_hook=pairs)
    except RecursionError:
        raise _too_deep() from None
    if duplicates:
        path = _path_of(value, duplicates) or word(next(iter(duplicates.values())))
        raise InvalidRequest(
            f"The body is not valid JSON: '{path[:200]}' is given twice.",
            code="invalid_json",
            param=path[:200],
        )


def _path_of(root: Any, duplicates: dict[int, str]) -> str | None:
    stack: list[tuple[Any, str]] = [(root, "")]
    while stack:
        value, path = stack.pop()
        if id(value) in duplicates and isinstance(value, dict):
            return f"{path}.{word(duplicates[id(value)])}".removeprefix(".")
        if isinstance(value, dict):
            stack.extend((inner, f"{path}.{word(name)}") for name, inner in value.items())
        elif isinstance(value, list):
            stack.extend((inner, f"{path}[{i}]") for i, inner in enumerate(value))
    return None
