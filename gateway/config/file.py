"""Reads a YAML configuration file into plain data.

`${...}` in values is replaced by environment variables and secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway.config import secret_files, yaml_errors
from gateway.options import UNSET, Mistakes
from gateway.redaction import masked_name

_VARIABLE = re.compile(
    r"\$\$\{|\$\{(?:(credential|file):([^}]*)|([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?)\}"
)
# What looks like a variable, but is none of the forms above.
_UNKNOWN_FORM = re.compile(r"\$\{[^}]*\}")
_SHELL_VARIABLE = re.compile(r"\$[A-Z_][A-Z0-9_]*|%[A-Z_][A-Z0-9_]*%")

# The types of values besides text; other types of YAML, such as dates, are read as text.
_YAML = "tag:yaml.org,2002:"
_MERGE = _YAML + "merge"
_TYPED = {_YAML + kind for kind in ("bool", "int", "float", "null")}


@dataclass(slots=True)
class ConfigDocument:
    """Holds the content of a file.

    readable: whether the file could be parsed, so that `data` is valid.
    lines: the line of each path.
    names: what the file calls a path, where that is something else.
    mistakes: what is wrong so far, by path.
    without_secrets: whether files of secrets are not read.
    secrets: the secrets that were read from files.
    """

    data: Any = None
    readable: bool = True
    lines: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    mistakes: Mistakes = field(default_factory=Mistakes)
    without_secrets: bool = False
    secrets: set[str] = field(default_factory=set)

    def line(self, path: str) -> int | None:
        """Return the line of a path, or of its nearest parent that is in the file."""
        while path not in self.lines:
            cut = max(path.rfind("."), path.rfind("["))
            if cut < 0:
                return None
            path = path[:cut]
        return self.lines[path]

    def place(self, file: Path, path: str) -> str:
        """Return file, line and name of a path, as a message about it begins."""
        line = self.line(path)
        place = f"{file}:{line}: " if line else f"{file}: "
        name = self.names.get(path, path)
        return f"{place}{name}: " if name else place


def read_yaml(
    text: str, environ: Mapping[str, str], *, without_secrets: bool = False
) -> ConfigDocument:
    """Parse a YAML text; wrong places are noted in the document's `mistakes`.

    In values, `${NAME}` and `${NAME:-default}` are replaced from the environment,
    `${credential:NAME}` and `${file:PATH}` from files. `$${` is a literal `${`.
    """
    document = ConfigDocument(without_secrets=without_secrets)
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None:
            document.data = _read_node(node, "", document, environ)
    except RecursionError:
        document.readable = False
        document.mistakes[""] = "not valid YAML: nested too deeply, or an alias contains itself"
    except yaml.YAMLError as error:
        document.readable = False
        document.lines[""], problem = yaml_errors.describe(error, text)
        document.mistakes[""] = f"not valid YAML: {problem}"
    return document


def _read_node(
    node: yaml.Node, path: str, document: ConfigDocument, environ: Mapping[str, str]
) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged |= _read_merged(value_node, path, document, environ)
                continue
            key = join_surrogates(str(key_node.value)) or ""
            inner = f"{path}.{key}" if path else key
            if key in mapping:
                place = f"{path}.{masked_name(key)}" if path else masked_name(key)
                document.mistakes[place] = f"given twice, again in line {_line(key_node)}"
            document.lines[inner] = _line(key_node)
            mapping[key] = _read_node(value_node, inner, document, environ)
        return merged | mapping
    if isinstance(node, yaml.SequenceNode):
        return [
            _read_node(item, f"{path}[{i}]", document, environ) for i, item in enumerate(node.value)
        ]
    if not node.tag.startswith(_YAML) or "/" in node.tag:
        raise yaml.MarkedYAMLError(problem="a tag that is not known", problem_mark=node.start_mark)
    value = node.value
    if node.tag in _TYPED and ":" not in value:  # YAML 1.1 reads 5:00 as 300
        try:
            value = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError):
            document.mistakes[path] = "not a valid value"
            return UNSET
    if not isinstance(value, str):
        return value
    joined = join_surrogates(value)
    if joined is None:
        document.mistakes[path] = (
            "has half of a character: an escape such as \\ud83d needs its second half, \\ude00"
        )
        return UNSET
    return substitute(joined, path, document, environ)


def _read_merged(
    node: yaml.Node, path: str, document: ConfigDocument, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Read what `<<` merges: a mapping, or a list of them, of which the first one counts most."""
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    merged: dict[str, Any] = {}
    for each in reversed(nodes):
        if not isinstance(each, yaml.MappingNode):
            document.mistakes[path] = "<< needs a mapping, such as *name"
            continue
        merged |= _read_node(each, path, document, environ)
    return merged


def join_surrogates(text: str) -> str | None:
    """Return a text with each pair of surrogates as one character; None if one has no partner.

    Libraries for JSON write a character beyond U+FFFF as such a pair of escapes.
    """
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return None


def _not_unicode(text: str) -> bool:
    """Return whether the system's bytes were no UTF-8: Python has surrogates in their place."""
    return any("\ud800" <= c <= "\udfff" for c in text)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def substitute(text: str, path: str, document: ConfigDocument, environ: Mapping[str, str]) -> Any:
    """Replace `${...}` in a value. Return UNSET, and note the mistake, where it cannot be."""
    faults: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        kind, place, name, has_default, default = match.groups()
        if kind is not None and document.without_secrets:
            return f"secret-of-{kind}-{place}"  # long enough for a key, and no two are equal
        if kind is not None:
            read = (
                secret_files.read_credential
                if kind == "credential"
                else secret_files.read_secret_file
            )
            try:
                secret = read(place, environ)
            except secret_files.SecretUnreadable as fault:
                faults.append(str(fault))
                return ""
            document.secrets.add(secret)
            return secret
        if name is None:
            return "${"
        value = environ.get(name, "")
        if not value and not has_default:
            missing.append(name)
        if _not_unicode(value):
            faults.append(
                f"the environment variable {name} is not text in UTF-8; "
                "set it in a terminal that uses UTF-8, not GBK or Latin-1"
            )
        return value or default or ""

    missing: list[str] = []
    if _SHELL_VARIABLE.fullmatch(text):
        document.mistakes[path] = (
            "looks like a variable of the shell, which is not replaced; write ${NAME}, "
            "or ${NONE:-$NAME} for the text $NAME itself"
        )
        return UNSET
    if _UNKNOWN_FORM.search(_VARIABLE.sub("\n", text)):
        faults.append(
            "${...} must be ${NAME}, ${NAME:-default}, ${credential:NAME} or ${file:/path}; "
            "write $${ for the characters ${"
        )
    value = _VARIABLE.sub(replacement, text)
    if missing:
        names = " and ".join(missing)
        faults.insert(
            0, f"the environment variable {names} is not set; set it, or write the value here"
        )
    if not faults and "\0" in value:
        faults.append("has a NUL character")
    if faults:
        document.mistakes[path] = "; ".join(faults)
        return UNSET
    return value
