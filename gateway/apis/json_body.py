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

from gateway.apis.route_hints import route_hint
from gateway.errors import InvalidRequest
from gateway.generation import json_values
from gateway.redaction import word

_Struct = TypeVar("_Struct", bound=msgspec.Struct)

_MAX_LOCATED = 1_000_000  # bytes; in a larger body a member that is given twice is not looked for
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
_MISSING = re.compile(r"Object missing required field `(.*)`")
# json.dumps would make an encoder at each call.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse the JSON object in a body.

    Raises InvalidRequest: `invalid_json`, or `context_length_exceeded` for too many values.
    """
    try:
        # While a body is parsed, no other request is served.
        if 3 * len(raw) > json_values.MAX_VALUES and json_values.exceeds(
            raw, json_values.MAX_VALUES
        ):
            json_values.refuse(raw)
        value = json_values.decode_counted(raw)
    except json_values.TooManyValues:
        raise InvalidRequest(
            "The request is too long: its body has too many JSON values. "
            f"At most {json_values.MAX_VALUES} are read; an object counts as three.",
            code="context_length_exceeded",
        ) from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {_reason(raw, error)}.", code="invalid_json"
        ) from None
    if type(value) is not dict:  # a call less than isinstance, in each request
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    if not _has_no_duplicates(raw, value):
        _refuse_duplicates(raw)
    return value


def _has_no_duplicates(raw: bytes, value: dict[str, Any]) -> bool:
    """Return whether the body certainly names no member twice.

    The parser keeps one of two members with the same name. The body then has more strings
    than the parsed object. Counting single bytes is the fastest check of a large body.
    """
    strings, quotes = _count_strings(value)
    if raw.count(b'"') == 2 * strings + quotes and b"u0022" not in raw:
        return True
    return json_values.count_strings(raw) == strings


def convert(value: dict[str, Any], kind: type[_Struct]) -> _Struct:
    """Convert an object to a struct. Raises InvalidRequest that names the wrong field."""
    try:
        return msgspec.convert(value, kind)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        what, found, path = str(error).rpartition(" - at `$")
        if not found:
            what, path = path, ""
        path = path.removesuffix("`").lstrip(".")
        if missing := _MISSING.fullmatch(what):
            path = f"{path}.{missing[1]}".lstrip(".")
            raise InvalidRequest(
                f"Missing required parameter: '{path}'.{route_hint(value, path)}",
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
        return _encode(value)
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


def _count_strings(value: Any) -> tuple[int, int]:
    """Return how many strings the value has, names of members included, and quotes in them."""
    count, quotes, stack = 0, 0, [value]
    while stack:
        value = stack.pop()
        if type(value) is str:
            count += 1
            quotes += value.count('"')
        elif type(value) is dict:
            for name in value:
                count += 1
                quotes += name.count('"')
            stack.extend(value.values())
        elif type(value) is list:
            stack.extend(value)
    return count, quotes


def _refuse_duplicates(raw: bytes) -> None:
    """Parse again, with the slow parser that sees members twice. Raises InvalidRequest."""
    if len(raw) > _MAX_LOCATED:
        raise InvalidRequest(
            "The body is not valid JSON: a member is given twice.", code="invalid_json"
        )
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
