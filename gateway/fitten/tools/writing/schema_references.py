"""Resolves the `$ref` members of one JSON schema, within a budget of nodes. No I/O.

A definition that is used once stands where it is used, and so does a very small one. Any other
definition is written once and has a name. So the text grows with the schema, however often and
in whatever loops its definitions use each other.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import unquote

# Definitions of one request: the objects in them, and their characters.
MAX_NODES = 2_000
_CHARACTERS_PER_NODE = 200
# Values in all schemas of one request that are written as types, eight times those of Claude
# Code. A value takes about as long as 30 calls of functions.
MAX_VALUES = 5_000

_SMALL = 120  # characters of a definition that may stand at each of its uses
_MEMBERS = 10
_DEFINITION = re.compile(r"#/(?:\$defs|definitions)/[^/]+")
_SEPARATORS = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_IN_NAMES = re.compile(r"\W+")
_LONGEST_NAME = 40
# Words of a type, which no definition may have as its name.
_WORDS = frozenset(("any", "never", "oneOf", "true", "false", "null", "object", "string")).union(
    ("number", "integer", "boolean")
)
_MISSING: Any = object()
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Use = Literal["inline", "named", "unknown"]


class NodeBudget:
    """Counts the nodes of definitions, and the values, that one request may still write."""

    def __init__(self, nodes: int = MAX_NODES) -> None:
        self._left = nodes
        self._values_left = MAX_VALUES
        self._steps = 10 * nodes  # for counting nodes of definitions that are then not written

    def take_values(self, schema: Any) -> bool:
        """Take all values of a schema; return False, and take none, when fewer are left."""
        values = _count_values(schema)
        if values > self._values_left:
            return False
        self._values_left -= values
        return True

    def take(self, target: Any = None) -> bool:
        """Take the nodes of a definition; return False, and take none, when fewer are left."""
        if self._left < 1:
            return False
        nodes = count_nodes(target, limit=self._left)[1] + 1
        if nodes <= self._left:
            nodes += len(encode_json(target)) // _CHARACTERS_PER_NODE
        if nodes <= self._left:
            self._left -= nodes
            return True
        self._steps -= nodes
        if self._steps < 0:
            self._left = 0
        return False


class References:
    """Decides for each `$ref` of one schema where its definition is written.

    names: the names of the definitions that are written once, by `$ref`.
    order: the `$ref` of each of them, the first used first.
    """

    def __init__(self, root: Any, budget: NodeBudget) -> None:
        self._root = root
        self._budget = budget
        self._uses: Counter[str] | None = None
        self._targets: dict[str, Any] = {}
        self._small: dict[str, bool] = {}
        self._inlined: set[str] = set()
        self._taken: set[str] = set(_WORDS)
        self._numbers: Counter[str] = Counter()
        self.names: dict[str, str] = {}
        self.order: list[str] = []

    def use(self, reference: str, *, may_inline: bool) -> Use:
        """Return how one use of a definition is written; "unknown": only the `$ref` itself."""
        if reference in self.names:
            return "named"
        target = self.target(reference)
        if target is _MISSING:
            return "unknown"
        if may_inline and self._is_small(reference, target):
            return "inline" if self._budget.take() else "unknown"
        if not self._budget.take(target):
            return "unknown"
        if self._uses is None:
            self._uses, _ = count_nodes(self._root)
        # A definition that contains the only use may itself be written several times.
        is_first = self._uses[reference] == 1 and reference not in self._inlined
        if may_inline and is_first and _DEFINITION.fullmatch(reference):
            self._inlined.add(reference)
            return "inline"
        self.names[reference] = self._new_name(reference)
        self.order.append(reference)
        return "named"

    def target(self, reference: str) -> Any:
        """Return the schema that a JSON pointer of this schema refers to (RFC 6901)."""
        if reference not in self._targets:
            self._targets[reference] = self._find(reference)
        return self._targets[reference]

    def is_known(self, reference: str) -> bool:
        """Return whether a `$ref` refers to something in this schema."""
        return self.target(reference) is not _MISSING

    def _find(self, reference: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            return _MISSING
        found = self._root
        for part in unquote(reference).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~") if "~" in part else part
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and len(key) < 6:
                found = found[int(key)] if int(key) < len(found) else _MISSING
            else:
                return _MISSING
        return found

    def unwritten(self) -> dict[str, dict[str, Any]]:
        """Return the definitions that have no name in the text, for a `$ref` that needs them."""
        found: dict[str, dict[str, Any]] = {}
        for group in ("$defs", "definitions"):
            members = self._root.get(group) if isinstance(self._root, Mapping) else None
            if isinstance(members, Mapping):
                left = {k: v for k, v in members.items() if f"#/{group}/{k}" not in self.names}
                if left:
                    found[group] = left
        return found

    def _is_small(self, reference: str, target: Any) -> bool:
        if reference not in self._small:
            flat = isinstance(target, dict) and len(target) <= _MEMBERS
            self._small[reference] = (
                flat
                and all(map(_is_flat, target.values()))
                and "$ref" not in target
                and len(encode_json(target)) <= _SMALL
            )
        return self._small[reference]

    def _new_name(self, reference: str) -> str:
        last = unquote(reference.rpartition("/")[2])
        name = _NOT_IN_NAMES.sub("_", last)[:_LONGEST_NAME].strip("_")
        name = name if name and not name[0].isdecimal() else f"Type{name and '_'}{name}"
        unique = name
        while unique in self._taken:
            self._numbers[name] += 1
            unique = f"{name}_{self._numbers[name] + 1}"
        self._taken.add(unique)
        return unique


def count_nodes(value: Any, *, limit: int | None = None) -> tuple[Counter[str], int]:
    """Return how often each `$ref` occurs in a value, and how many objects the value has.

    limit: the count stops when there are more objects than this.
    """
    uses: Counter[str] = Counter()
    nodes = 0
    stack = _nested([value])
    while stack and (limit is None or nodes <= limit):
        inner = stack.pop()
        if isinstance(inner, dict):
            nodes += 1
            reference = inner.get("$ref")
            if isinstance(reference, str):
                uses[reference] += 1
            inner = inner.values()
        stack += _nested(inner)
    return uses, nodes


def _count_values(schema: Any) -> int:
    """Return how many JSON values a schema consists of."""
    values, stack = 1, _nested([schema])
    while stack:
        inner = stack.pop()
        values += len(inner)
        stack += _nested(inner.values() if isinstance(inner, dict) else inner)
    return values


def _nested(values: Iterable[Any]) -> list[Any]:
    """Return the objects and lists among values; a look at `__class__` is no call."""
    return [value for value in values if value.__class__ is dict or value.__class__ is list]


def encode_json(value: Any) -> str:
    """Return compact JSON without line separators; a text that says so if it is too deep."""
    try:
        text = _json(value)
    except (RecursionError, TypeError, ValueError):
        return '"(cut: too deep or no JSON)"'
    return text if text.isascii() and "\x7f" not in text else _SEPARATORS.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _is_flat(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _SMALL // 2 and all(map(_is_short, value))
    return _is_short(value)


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and not (
        isinstance(value, str) and len(value) > _SMALL
    )
