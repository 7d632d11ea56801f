"""Reads a list of tools that are described as signatures, as a model would.

    Edit: Replaces text in a file.
    | A second line of the description.
     file_path: A string, since it has no type
     replace_all? boolean = false: May be left out

What is read becomes a JSON schema again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_WORD = re.compile(r"[\w$@][\w$@./-]*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_LABEL = re.compile(r"\((arguments|example|definitions|where (\w+)|(\d+))\)|\[key\]")
_OBJECT_NUMBER = re.compile(r" (\d+)")
_LIMIT = re.compile(r"(length |items |)(>=|<=|>|<) ")
_RANGE = re.compile(r"(length |items |)(?=-?\d)")
_TYPES = ("string", "number", "integer", "boolean", "null", "object")
_LIMITS = {
    ">=": "minimum",
    "<=": "maximum",
    ">": "exclusiveMinimum",
    "<": "exclusiveMaximum",
    "length >=": "minLength",
    "length <=": "maxLength",
    "items >=": "minItems",
    "items <=": "maxItems",
}
_decode = json.JSONDecoder().raw_decode


@dataclass(slots=True)
class Signature:
    """Describes a tool that was read: its name, description and JSON schema."""

    name: str
    description: str = ""
    parameters: Any = field(default_factory=lambda: {"type": "object", "properties": {}})
    example: Any = None


@dataclass(slots=True)
class _Owner:
    """Holds what was read of one line: its indentation, and the objects in its type."""

    indent: int
    objects: dict[int, dict[str, Any]]
    current: dict[str, Any] | None = None


def read_signatures(text: str) -> list[Signature]:
    """Return the tools that a text lists; lines that are not understood are passed over."""
    found: list[Signature] = []
    reader: _ToolReader | None = None
    for line in text.split("\n"):
        try:
            if line.startswith((" ", "|")):
                if reader is not None:
                    reader.read(line)
                continue
            scanner = _Scanner(line)
            name = scanner.name()
            description = scanner.rest_after(": ")
        except ValueError:
            continue
        found.append(Signature(name, description))
        reader = _ToolReader(found[-1])
    return found


class _ToolReader:
    """Reads the lines that belong to one tool."""

    def __init__(self, tool: Signature) -> None:
        self._tool = tool
        self._described: dict[str, Any] | None = None
        root = _Owner(0, {}, tool.parameters)
        self._owners = [root]

    def read(self, line: str) -> None:
        """Read one line."""
        text = line.lstrip(" ")
        if text.startswith("|"):
            more = "\n" + text[1:].removeprefix(" ")
            if self._described is None:
                self._tool.description += more
            else:
                self._described["description"] += more
            return
        indent = len(line) - len(text)
        while len(self._owners) > 1 and self._owners[-1].indent >= indent:
            self._owners.pop()
        if label := _LABEL.match(text):
            self._read_labelled(label, text, indent)
            return
        scanner = _Scanner(text)
        name = scanner.name()
        is_required = not scanner.take("?")
        schema = self._read_type(scanner, indent)
        into = self._owners[-2].current
        if into is not None:
            into.setdefault("properties", {})[name] = schema
            if is_required:
                into.setdefault("required", []).append(name)

    def _read_labelled(self, label: re.Match[str], text: str, indent: int) -> None:
        kind = label[0]
        rest = text[label.end() :]
        if label[3]:
            owner = self._owners[-1]
            owner.current = owner.objects[int(label[3])]
        elif kind == "[key]":
            schema = self._read_type(_Scanner(rest), indent)
            into = self._owners[-2].current
            if into is not None:
                into["additionalProperties"] = schema
        elif kind == "(arguments)":
            schema = self._read_type(_Scanner(rest), indent)
            self._tool.parameters = schema
        elif kind == "(example)":
            self._tool.example = json.loads(rest)
        elif kind == "(definitions)":
            for group, members in json.loads(rest).items():
                self._tool.parameters.setdefault(group, {}).update(members)
        else:
            schema = self._read_type(_Scanner(rest), indent)
            self._tool.parameters.setdefault("$defs", {})[label[2]] = schema

    def _read_type(self, scanner: _Scanner, indent: int) -> Any:
        """Read type, default and description; what is indented more belongs to them."""
        schema: Any = scanner.union() if scanner.take(" ") else {"type": "string"}
        if scanner.take(" = "):
            schema = _with(schema, {"default": scanner.json()})
        if description := scanner.rest_after(": "):
            schema = _with(schema, {"description": description})
            self._described = schema
        owner = _Owner(indent, scanner.objects)
        owner.current = scanner.objects.get(0)
        self._owners.append(owner)
        return schema


class _Scanner:
    """Reads a line from left to right. Raises ValueError for what it does not understand."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.objects: dict[int, dict[str, Any]] = {}

    def take(self, sign: str) -> bool:
        """Skip a sign if it is next; return whether it was."""
        if self._text.startswith(sign, self._at):
            self._at += len(sign)
            return True
        return False

    def name(self) -> str:
        """Read a bare word or a JSON string."""
        if self._text.startswith('"', self._at):
            return str(self.json())
        return self._match(_WORD)[0]

    def json(self) -> Any:
        """Read a JSON value."""
        value, self._at = _decode(self._text, self._at)
        return value

    def rest_after(self, sign: str) -> str:
        """Read a sign and return all behind it; "" at the end of the line."""
        if self._at == len(self._text):
            return ""
        self._expect(sign)
        return self._text[self._at :]

    def union(self) -> Any:
        """Read a type: alternatives, of parts that must all fit."""
        found = [self._all()]
        while self.take("|"):
            found.append(self._all())
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _all(self) -> Any:
        found = [self._postfix()]
        while self.take(" & "):
            found.append(self._postfix())
        return found[0] if len(found) == 1 else {"allOf": found}

    def _postfix(self) -> Any:
        schema = self._atom()
        while True:
            if self.take("[]"):
                schema = {"type": "array", "items": schema}
            elif self.take(" ("):
                facets: dict[str, Any] = {}
                self._facet(facets)
                while self.take(", "):
                    self._facet(facets)
                self._expect(")")
                schema = facets["\0"] if "\0" in facets else _with(schema, facets)
            else:
                return schema

    def _atom(self) -> Any:
        if self.take("("):
            schema = self.union()
            self._expect(")")
            return schema
        if self.take("{[key]: "):
            schema = {"type": "object", "additionalProperties": self.union()}
            self._expect("}")
            return schema
        if self.take("oneOf("):
            branches = [self.union()]
            while self.take(", "):
                branches.append(self.union())
            self._expect(")")
            return {"oneOf": branches}
        word = _WORD.match(self._text, self._at)
        if word is None or word[0] in ("true", "false") or word[0][0].isdecimal():
            return {"const": self.json()}
        self._at = word.end()
        if word[0] == "object":
            return self._object()
        if word[0] in _TYPES:
            return {"type": word[0]}
        if word[0] in ("any", "never"):
            return {} if word[0] == "any" else False
        return {"$ref": f"#/$defs/{word[0]}"}

    def _object(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object"}
        number = _OBJECT_NUMBER.match(self._text, self._at)
        if number:
            self._at = number.end()
        self.objects[int(number[1]) if number else 0] = schema
        return schema

    def _facet(self, into: dict[str, Any]) -> None:
        if limit := _LIMIT.match(self._text, self._at):
            self._at = limit.end()
            into[_LIMITS[limit[0].rstrip()]] = self.json()
            return
        if span := _RANGE.match(self._text, self._at):
            self._at = span.end()
            for sign in (">=", "<="):
                into[_LIMITS[span[1] + sign]] = json.loads(self._match(_NUMBER)[0])
                self.take("..")
            return
        is_bare = not self._text.startswith('"', self._at)
        key = self.name()
        self._expect(" ")
        if is_bare:  # the writer's own words; a keyword of that name would be quoted
            key = {"about": "description", "schema": "\0"}.get(key, key)
        into[key] = self.json()

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(self._text)
        self._at = found.end()
        return found

    def _expect(self, sign: str) -> None:
        if not self.take(sign):
            raise ValueError(self._text)


def _with(schema: Any, members: dict[str, Any]) -> Any:
    """Return a schema with further members; it is changed in place if that loses nothing."""
    if isinstance(schema, dict) and not members.keys() & schema.keys():
        schema.update(members)
        return schema
    if "allOf" in members:
        return {"allOf": [schema, members]}
    return {"allOf": [schema], **members}
