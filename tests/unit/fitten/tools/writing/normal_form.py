"""Compares JSON schemas by what a caller can get wrong.

Two schemas have the same normal form if they say the same in other words: an `enum` is a choice of
`const`s, a list of types is a choice of types, a `$ref` is what it refers to. All else counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

Parts = list[str]
# Members of members are compared to this depth, since definitions may be loops.
_DEPTH = 3
_LOOP = "loop"
_OF_OBJECTS = ("properties", "required", "additionalProperties")
_SAID_NOTHING = ("title", "$schema", "strict")


@dataclass(frozen=True)
class SchemaPlace:
    """Says where a schema stands: how deep, and what was followed since the last step down."""

    root: Any
    depth: int = 0
    followed: frozenset[str] = frozenset()

    def inner(self) -> SchemaPlace:
        return SchemaPlace(self.root, self.depth + 1)


def normal_form(schema: Any, root: Any) -> Parts:
    """Return what a schema demands, as a sorted list."""
    return sorted(set(_parts(_bare(schema), SchemaPlace(root))))


def _bare(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    return {
        key: value
        for key, value in schema.items()
        if key not in ("$defs", "definitions") or not isinstance(value, dict)
    }


def _parts(schema: Any, at: SchemaPlace) -> Parts:
    if at.depth > _DEPTH:
        return [_LOOP]
    if schema is True:
        return []
    if not isinstance(schema, dict):
        return [_shown("schema", schema)]
    rest = {key: value for key, value in schema.items() if key not in _SAID_NOTHING}
    if rest.get("propertyNames") == {"type": "string"}:
        del rest["propertyNames"]
    if rest.get("additionalProperties") is False:
        del rest["additionalProperties"]
    if rest.get("required") == []:
        del rest["required"]
    if isinstance(said := rest.get("description"), str):
        rest["description"] = "\n".join(said.strip().splitlines())
        if not rest["description"]:
            del rest["description"]
    core = _core(rest, at)
    if rest.get("nullable") is True and core:
        del rest["nullable"]
        core = _choice([core, _null()])
    return [*core, *(_shown(key, value) for key, value in rest.items())]


def _core(rest: dict[str, Any], at: SchemaPlace) -> Parts:
    found: Parts = []
    reference = rest.get("$ref")
    if isinstance(reference, str):
        target, is_known = _target(reference, at.root)
        del rest["$ref"]
        if not is_known:
            found.append(_shown("$ref", reference))
        else:
            is_loop = reference in at.followed
            followed = replace(at, followed=at.followed | {reference})
            found += [_LOOP] if is_loop else _parts(_bare(target), followed)
    values = _values(rest)
    kinds = _kinds(rest)
    if kinds:
        rest.pop("type", None)
        is_scalar = not {"object", "array"} & set(kinds)
        if not (
            values and is_scalar and all(any(_fits(v, kind) for kind in kinds) for v in values)
        ):
            found += _choice([_kind(kind, rest, at) for kind in kinds])
    if values:
        rest.pop("enum" if "enum" in rest else "const")
        found += _choice([[_shown("const", value)] for value in values])
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(branches := rest.get(key), list) and branches:
            del rest[key]
            inner = [_parts(branch, at) for branch in branches]
            if key == "allOf":
                found += [part for parts in inner for part in parts]
            elif key == "anyOf":
                found += _choice(inner)
            else:
                found.append(_shown("oneOf", [sorted(set(parts)) for parts in inner]))
    return found


def _null() -> Parts:
    return [_shown("const", None)]


def _choice(branches: list[Parts]) -> Parts:
    """Return a choice; choices within it are part of it."""
    if len(branches) == 1:
        return branches[0]
    flat: list[Any] = []
    for parts in branches:
        only = json.loads(parts[0]) if len(set(parts)) == 1 and parts[0] != _LOOP else {}
        flat += only.get("anyOf") or [sorted(set(parts))]
    return [_shown("anyOf", flat)]


def _kind(kind: str, rest: dict[str, Any], at: SchemaPlace) -> Parts:
    if kind == "null":
        return _null()
    found = [_shown("type", kind)]
    if kind == "array":
        items = rest.pop("items") if isinstance(rest.get("items"), dict | bool) else True
        found.append(_shown("items", sorted(set(_parts(items, at.inner())))))
    if kind == "object":
        members = rest.get("properties")
        members = members if isinstance(members, dict) else {}
        required = rest.get("required")
        required = required if isinstance(required, list) else []
        if "properties" in rest and isinstance(rest["properties"], dict):
            del rest["properties"]
        for name, inner in members.items():
            parts = sorted(set(_parts(inner, at.inner())))
            found.append(_shown("member", [name, name in required, parts]))
        if "required" in rest and isinstance(rest["required"], list):
            left = [n for n in required if not isinstance(n, str) or n not in members]
            del rest["required"]
            if left:
                rest["required"] = left
        others = rest.get("additionalProperties")
        if isinstance(others, dict) or others is True:
            del rest["additionalProperties"]
            found.append(_shown("others", sorted(set(_parts(others, at.inner())))))
    return found


def _kinds(schema: dict[str, Any]) -> list[str]:
    if "type" not in schema:
        if isinstance(schema.get("properties"), dict):
            return ["object"]
        if isinstance(schema.get("additionalProperties"), dict):
            return ["object"]
        if schema.get("additionalProperties") is True:
            return ["object"]
        return ["array"] if isinstance(schema.get("items"), dict | bool) else []
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = {"string", "number", "integer", "boolean", "object", "array", "null"}
    known = [kind for kind in kinds if isinstance(kind, str) and kind in names]
    return known if len(set(known)) == len(kinds) else []


def _values(schema: dict[str, Any]) -> list[Any]:
    if "enum" in schema:
        return schema["enum"] if isinstance(schema["enum"], list) else []
    return [schema["const"]] if "const" in schema else []


def _fits(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    fitting: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "null": (type(None),),
    }
    return isinstance(value, fitting.get(kind, ()))


def _target(reference: str, root: Any) -> tuple[Any, bool]:
    found = root
    for step in reference.split("/")[1:]:
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or key not in found:
            return None, False
        found = found[key]
    return found, reference.startswith("#")


def _shown(key: str, value: Any) -> str:
    return json.dumps({key: value}, sort_keys=True)
