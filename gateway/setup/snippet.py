"""Writes snippets of settings in the formats of clients."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.setup.target import KEY_VARIABLE, PLACEHOLDER, SetupTarget

Language = Literal["json", "jsonc", "python", "shell", "toml", "typescript", "yaml"]

_COMMENT = f"the value of ${KEY_VARIABLE}"
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Snippet:
    """Holds a piece of settings and where it belongs.

    place: a file, a page of settings, or the shell, as Markdown. text: ends with a newline.
    """

    place: str
    language: Language
    text: str


def json_snippet(place: str, value: Any) -> Snippet:
    """Write JSON; with comments, where the key is a placeholder in it."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    line = rf'(?m)^( *)(".*": ".*{PLACEHOLDER}.*")'
    commented = re.sub(line, rf"\1// {PLACEHOLDER} is {_COMMENT}.\n\1\2", text, count=1)
    return Snippet(place, "json" if commented == text else "jsonc", commented)


def yaml_snippet(place: str, value: Any) -> Snippet:
    """Write YAML; it also stands for the fields of a page of settings."""
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)
    return Snippet(place, "yaml", re.sub(rf"(?m)({PLACEHOLDER}.*)$", rf"\1  # {_COMMENT}", text))


def toml_snippet(place: str, value: Mapping[str, Any]) -> Snippet:
    """Write TOML: values first, then a table for each mapping."""
    parts: list[str] = []
    _write_table(value, (), parts)
    return Snippet(place, "toml", "\n".join(parts).lstrip("\n") + "\n")


def _write_table(table: Mapping[str, Any], path: tuple[str, ...], parts: list[str]) -> None:
    values = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    if path and values:
        parts.append(f"\n[{'.'.join(map(_toml_name, path))}]")
    parts += [f"{_toml_name(name)} = {toml_value(value)}" for name, value in values.items()]
    for name, value in table.items():
        if isinstance(value, Mapping):
            _write_table(value, (*path, name), parts)


def toml_value(value: str | bool | int) -> str:
    """Write a value as TOML; its strings are those of JSON."""
    return json.dumps(value, ensure_ascii=False)


def toml_assignments(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Write each value of nested tables as `table.name=value`."""
    lines: list[str] = []
    for name, value in table.items():
        inner = (*path, _toml_name(name))
        if isinstance(value, Mapping):
            lines += toml_assignments(value, inner)
        else:
            lines.append(f"{'.'.join(inner)}={toml_value(value)}")
    return lines


def _toml_name(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def shell_snippet(
    place: str, variables: Mapping[str, str], *lines: str, key: str | None = None
) -> Snippet:
    """Write commands of the shell that set variables, and further lines.

    key: how the shell refers to the key; None if it stands nowhere in the values.
    """
    text = "".join(
        f"export {name}={value if value == key else shlex.quote(value)}\n"
        for name, value in variables.items()
    )
    return Snippet(place, "shell", text + "".join(f"{line}\n" for line in lines))


def code_snippet(place: str, language: Language, text: str) -> Snippet:
    """Return lines of a program."""
    return Snippet(place, language, text)


def key_from_file(target: SetupTarget) -> Snippet:
    """Write the command that sets the variable of the key from its file."""
    return shell_snippet(
        "In the shell, before the program starts",
        {KEY_VARIABLE: target.shell_key},
        key=target.shell_key,
    )
