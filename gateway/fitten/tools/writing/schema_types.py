"""Writes a JSON schema as lines of types, without loss. No I/O.

One argument is one line, ` name? type = default: description`. The type is left out if it is a
string and a description follows. The members of an object are lines below, indented by one more
blank. Keywords of JSON Schema that have no sign of their own stand behind the type, as
`(keyword JSON)`. So nothing that a client sent is left out. A very large schema is one line
of JSON, since its types would take long to write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.fitten.tools.writing.descriptions import Description, clean
from gateway.fitten.tools.writing.schema_references import NodeBudget, References, encode_json

Segments = list[str | Description]

_BARE = re.compile(r"[\w$@][\w$@./-]{0,199}")
_TYPES = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
_SCALARS = frozenset(("string", "number", "integer", "boolean", "null"))
# These say nothing that a caller can get wrong.
_DROPPED = ("$schema", "title", "strict")
_ANNOTATIONS = frozenset(("description", "default", *_DROPPED))
_OF_PLAIN_ROOT = frozenset(("type", "properties", "required", "additionalProperties", *_DROPPED))
_DEFINITIONS = ("$defs", "definitions")
# Words that the writer itself puts before a value; a keyword of a client is quoted then.
_OWN_WORDS = frozenset(("about", "schema", "length", "items"))
_TRIVIAL_NAMES = {"type": "string"}
_LIMITS = {
    "minimum": ">= ",
    "maximum": "<= ",
    "exclusiveMinimum": "> ",
    "exclusiveMaximum": "< ",
    "minLength": "length >= ",
    "maxLength": "length <= ",
    "minItems": "items >= ",
    "maxItems": "items <= ",
}
_RANGES = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", "length "),
    ("minItems", "maxItems", "items "),
)
_MAX_DEPTH = 16
_ATOM, _FACETED, _UNION, _BOTH = range(4)
_Text = tuple[str, int]
# Placeholders within the text of a type: no JSON and no name has these characters.
_OBJECT, _NOTE = "\x00", "\x01"
_PLACEHOLDER = re.compile(f"{_OBJECT}|{_NOTE}")


@dataclass(slots=True)
class _Members:
    """Holds the members of one object, which are written below its line."""

    properties: dict[str, Any]
    required: frozenset[str]
    others: Any
    depth: int

    def missing(self, schema: Mapping[str, Any]) -> list[Any]:
        """Return what a schema requires besides the names of these members."""
        names = _required(schema)
        return [n for n in names if not isinstance(n, str) or n not in self.properties]


@dataclass(slots=True)
class _Line:
    """Collects what belongs to the line that is being written.

    objects: for each `object` in its type the members, or None for an object of any members.
    """

    objects: list[_Members | None] = field(default_factory=list)
    notes: list[Description] = field(default_factory=list)


class SchemaWriter:
    """Writes the arguments of one tool.

    out: takes the text. whole: whether its descriptions must not be shortened.
    nested: whether an argument has members of its own.
    """

    def __init__(self, schema: Any, out: Segments, budget: NodeBudget, *, whole: bool) -> None:
        self._schema = schema
        self._out = out
        self._budget = budget
        self._references = References(schema, budget)
        self._whole = whole
        self._needs_definitions = False
        self.nested = False

    def write(self, said: str = "") -> None:
        """Write the arguments and the named definitions. said: what was written before.

        A schema with more values than the budget has left is written as JSON, all of it.
        """
        if not self._budget.take_values(self._schema):
            root = _without_said(self._schema, said)
            self._out.append(f" (arguments) any (schema {encode_json(root)})\n")
            return
        root = _without_said(self._open(_without_definitions(self._schema), 0), said)
        if _is_plain_root(root):
            self._write_members(_members_of(root, 0), " ")
        else:
            self._write_line("(arguments)", root, " ", 0)
        for reference in self._references.order:  # a definition may need further ones
            target = _without_definitions(self._references.target(reference))
            self._write_line(f"(where {self._references.names[reference]})", target, " ", 0)
        if self._needs_definitions and (left := self._references.unwritten()):
            self._out.append(f" (definitions) {encode_json(left)}\n")

    def _write_line(self, label: str, schema: Any, indent: str, depth: int) -> None:
        line = _Line()
        schema = self._open(schema, depth)
        ending = ""
        description = ""
        if isinstance(schema, dict) and depth <= _MAX_DEPTH:
            schema = dict(schema)
            if "default" in schema:
                ending = f" = {encode_json(schema.pop('default'))}"
            if isinstance(schema.get("description"), str):
                description = clean(schema.pop("description"))
        text, _ = self._type(schema, line, depth)
        self._out.append(indent + label)
        numbers = []
        if text != "string" or ending or not description:
            self._out.append(" ")
            numbers = self._write_type(text, line)
        self._out.append(ending)
        if description:
            self._out += [": ", Description(description, indent, self._whole)]
        self._out.append("\n")
        for members, number in zip(line.objects, numbers, strict=True):
            if members is not None:
                self.nested = True
                if number:
                    self._out.append(f"{indent} ({number})\n")
                self._write_members(members, indent + " ")

    def _write_members(self, members: _Members, indent: str) -> None:
        for name, inner in members.properties.items():
            mark = "" if name in members.required else "?"
            self._write_line(f"{word(name)}{mark}", inner, indent, members.depth + 1)
        if members.others is not None:
            self._write_line("[key]", members.others, indent, members.depth + 1)

    def _write_type(self, text: str, line: _Line) -> list[int]:
        """Write the type with its placeholders filled; return the number of each object."""
        numbers = []
        objects, notes, start, number = iter(line.objects), iter(line.notes), 0, 0
        for found in _PLACEHOLDER.finditer(text):
            self._out.append(text[start : found.start()])
            start = found.end()
            if found[0] == _NOTE:
                self._out.append(next(notes))
                continue
            is_numbered = len(line.objects) > 1 and next(objects) is not None
            number += is_numbered
            numbers.append(number if is_numbered else 0)
            self._out.append(f"object {number}" if is_numbered else "object")
        self._out.append(text[start:])
        return numbers

    def _open(self, schema: Any, depth: int) -> Any:
        """Return the schema that another one only refers to, with what that one adds to it."""
        while isinstance(schema, dict) and depth <= _MAX_DEPTH:
            rest = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
            if not _ANNOTATIONS.issuperset(rest) or len(schema) != len(rest) + 1:
                return schema
            reference, branches = schema.get("$ref"), schema.get("allOf")
            if isinstance(reference, str):
                inner = self._references.target(reference)
                if not isinstance(inner, dict) or not _joins(inner, rest):
                    return schema
                if self._references.use(reference, may_inline=True) != "inline":
                    return schema
            elif isinstance(branches, list) and len(branches) == 1:
                inner = branches[0]
                if not isinstance(inner, dict) or not _joins(inner, rest):
                    return schema
            else:
                return schema
            said = [clean(part.get("description")) for part in (rest, inner)]
            schema = {**inner, **rest}
            if all(said) and said[0] != said[1]:
                schema["description"] = "\n".join(said)
            depth += 1
        return schema

    def _type(self, schema: Any, line: _Line, depth: int) -> _Text:
        if schema is True or schema == {}:
            return "any", _ATOM
        if schema is False:
            return "never", _ATOM
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            return self._faceted(("any", _ATOM), [f"schema {self._raw(schema)}"])
        rest = {key: value for key, value in schema.items() if key not in _DROPPED}
        if rest.get("propertyNames") == _TRIVIAL_NAMES:
            del rest["propertyNames"]
        if rest.get("additionalProperties") is False:
            del rest["additionalProperties"]
        if rest.get("required") == []:
            del rest["required"]
        if isinstance(rest.get("description"), str) and not clean(rest["description"]):
            del rest["description"]
        parts = self._parts(rest, line, depth)
        if rest.get("nullable") is True and parts:
            del rest["nullable"]
            parts = [_join([_join(parts, " & "), ("null", _ATOM)], "|")]
        facets = _take_ranges(rest)
        facets += [self._facet(key, value, line) for key, value in rest.items()]
        core = _join(parts, " & ") if parts else ("any", _ATOM)
        return self._faceted(core, facets) if facets else core

    def _parts(self, rest: dict[str, Any], line: _Line, depth: int) -> list[_Text]:
        """Return the types that a value must all fit, and remove their keywords from `rest`."""
        parts = []
        if isinstance(rest.get("$ref"), str):
            parts.append(self._reference(rest, line, depth))
        literals = _literals(rest)
        kinds = _kinds(rest)
        if kinds:
            rest.pop("type", None)
            if not (literals and _SCALARS.issuperset(kinds) and _all_fit(literals, kinds)):
                written = [self._kind(kind, rest, line, depth) for kind in kinds]
                parts.append(_join(written, "|"))
        if literals:
            parts.append(_join([(self._raw(value), _ATOM) for value in literals], "|"))
            rest.pop("enum" if "enum" in rest else "const")
        for key in ("anyOf", "oneOf", "allOf"):
            branches = rest.get(key)
            if isinstance(branches, list) and branches:
                del rest[key]
                inner = [self._inner(branch, line, depth) for branch in branches]
                if key == "oneOf":
                    parts.append((f"oneOf({', '.join(text for text, _ in inner)})", _ATOM))
                else:
                    parts += inner if key == "allOf" else [_join(inner, "|")]
        return parts

    def _inner(self, schema: Any, line: _Line, depth: int) -> _Text:
        return self._type(self._open(schema, depth + 1), line, depth + 1)

    def _reference(self, rest: dict[str, Any], line: _Line, depth: int) -> _Text:
        reference = rest.pop("$ref")
        use = self._references.use(reference, may_inline=depth < _MAX_DEPTH)
        if use == "inline":
            return self._inner(self._references.target(reference), line, depth)
        if use == "named":
            return self._references.names[reference], _ATOM
        # A pointer that leads nowhere needs none of them; another reference may be an anchor.
        if self._references.is_known(reference) or not reference.startswith("#/"):
            self._needs_definitions = True
        return self._faceted(("any", _ATOM), [f"$ref {encode_json(reference)}"])

    def _kind(self, kind: str, rest: dict[str, Any], line: _Line, depth: int) -> _Text:
        if kind == "array":
            items = rest.pop("items", True) if _is_schema(rest.get("items")) else True
            return f"{_wrap(self._inner(items, line, depth), _ATOM)}[]", _ATOM
        if kind != "object":
            return kind, _ATOM
        members = _members_of(rest, depth)
        if isinstance(rest.get("properties"), dict):
            del rest["properties"]
        if members.others is not None:
            del rest["additionalProperties"]
        if members.properties:
            if extra := members.missing(rest):
                rest["required"] = extra
            elif isinstance(rest.get("required"), list):
                del rest["required"]
            line.objects.append(members)
            return _OBJECT, _ATOM
        if members.others is not None:
            return f"{{[key]: {self._inner(members.others, line, depth)[0]}}}", _ATOM
        line.objects.append(None)
        return _OBJECT, _ATOM

    def _facet(self, key: str, value: Any, line: _Line) -> str:
        if key == "description" and isinstance(value, str):
            line.notes.append(Description(clean(value), None, self._whole))
            return f"about {_NOTE}"
        if key in _LIMITS and _is_number(value):
            return f"{_LIMITS[key]}{encode_json(value)}"
        name = encode_json(key) if key in _OWN_WORDS else word(key)
        return f"{name} {self._raw(value)}"

    def _faceted(self, core: _Text, facets: list[str]) -> _Text:
        return f"{_wrap(core, _ATOM)} ({', '.join(facets)})", _FACETED

    def _raw(self, value: Any) -> str:
        text = encode_json(value)
        if 'Ref"' in text or '"$ref"' in text:
            self._needs_definitions = True
        return text


def word(name: str) -> str:
    """Return a name as it is if it is one plain word, else as a JSON string."""
    return name if _BARE.fullmatch(name) else encode_json(name)


def _is_plain_root(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    members = _members_of(schema, 0)
    return (
        all(
            key in _OF_PLAIN_ROOT or (key == "propertyNames" and schema[key] == _TRIVIAL_NAMES)
            for key in schema
        )
        and schema.get("type", "object") == "object"
        and isinstance(schema.get("properties", {}), dict)
        and _is_schema(schema.get("additionalProperties", False))
        and isinstance(schema.get("required", []), list)
        and not members.missing(schema)
    )


def _without_definitions(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    return {
        key: value
        for key, value in schema.items()
        if key not in _DEFINITIONS or not isinstance(value, dict)
    }


def _without_said(schema: Any, said: str) -> Any:
    """Return a schema without its own description if that was written before."""
    if isinstance(schema, dict) and clean(schema.get("description")) in said:
        return {key: value for key, value in schema.items() if key != "description"}
    return schema


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _joins(inner: dict[str, Any], rest: Mapping[str, Any]) -> bool:
    """Return whether two schemas can be one: only their descriptions may both be there."""
    return not [key for key in inner if key in rest and key not in ("description", *_DROPPED)]


def _required(schema: Mapping[str, Any]) -> list[Any]:
    names = schema.get("required")
    return names if isinstance(names, list) else []


def _members_of(schema: Mapping[str, Any], depth: int) -> _Members:
    properties = schema.get("properties")
    others = schema.get("additionalProperties")
    return _Members(
        properties if isinstance(properties, dict) else {},
        frozenset(name for name in _required(schema) if isinstance(name, str)),
        others if isinstance(others, dict) or others is True else None,
        depth,
    )


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """Return the types of a schema; those that its keywords imply when it names none."""
    kind = schema.get("type")
    if kind is None and "type" not in schema:
        if isinstance(schema.get("properties"), dict) or _is_map(schema):
            return ["object"]
        return ["array"] if _is_schema(schema.get("items")) else []
    kinds = kind if isinstance(kind, list) else [kind]
    known = [name for name in kinds if isinstance(name, str) and name in _TYPES]
    return known if len(known) == len(set(known)) == len(kinds) else []


def _is_map(schema: Mapping[str, Any]) -> bool:
    others = schema.get("additionalProperties")
    return isinstance(others, dict) or others is True


def _literals(schema: Mapping[str, Any]) -> list[Any]:
    values = schema.get("enum")
    if isinstance(values, list) and values:
        return values
    return [schema["const"]] if "const" in schema and "enum" not in schema else []


_FITS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def _all_fit(values: list[Any], kinds: list[str]) -> bool:
    return all(any(_FITS[kind](value) for kind in kinds) for value in values)


def _take_ranges(rest: dict[str, Any]) -> list[str]:
    """Return the ranges of a schema, and remove their keywords from `rest`."""
    found = []
    for least, most, sign in _RANGES:
        if _is_number(rest.get(least)) and _is_number(rest.get(most)):
            first, last = encode_json(rest.pop(least)), encode_json(rest.pop(most))
            found.append(f"{sign}{first}..{last}")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _join(parts: list[_Text], sign: str) -> _Text:
    if len(parts) == 1:
        return parts[0]
    level, inner = (_UNION, _UNION) if sign == "|" else (_BOTH, _FACETED)
    return sign.join(_wrap(part, inner) for part in parts), level


def _wrap(part: _Text, level: int) -> str:
    text, has = part
    return text if has <= level else f"({text})"
