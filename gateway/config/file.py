"""Reads a configuration file into plain data: YAML, or the INI format of the original program.

`${...}` in values is replaced by environment variables and secrets.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from gateway.config import secret_files
from gateway.options import UNSET, Mistakes, masked_name

_VARIABLE = re.compile(
    r"\$\$\{|\$\{(?:(credential|file):([^}]*)|([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?)\}"
)
# The part of a parser's message before it quotes the file.
_QUOTED = re.compile(r"(alias|anchor|handle|directive) .*", re.DOTALL)

# The types of values besides text; other types of YAML, such as dates, are read as text.
_YAML = "tag:yaml.org,2002:"
_TYPED = {_YAML + kind for kind in ("bool", "int", "float", "null")}


@dataclass(slots=True)
class ConfigDocument:
    """Holds the content of a file.

    readable: whether the file could be parsed, so that `data` is valid.
    lines: the line of each path.
    mistakes: what is wrong so far, by path.
    without_secrets: whether files of secrets are not read.
    secrets: the secrets that were read from files.
    """

    data: Any = None
    readable: bool = True
    lines: dict[str, int] = field(default_factory=dict)
    mistakes: Mistakes = field(default_factory=dict)
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
        mark = getattr(error, "problem_mark", None)
        document.readable = False
        document.lines[""] = mark.line + 1 if mark else 1
        document.mistakes[""] = f"not valid YAML: {_yaml_problem(error)}"
    return document


def read_ini(
    text: str, environ: Mapping[str, str], *, without_secrets: bool = False
) -> ConfigDocument:
    """Parse the original program's config.ini: `[Main]` with username, password and api_key."""
    parser = configparser.ConfigParser(interpolation=None)
    document = ConfigDocument(without_secrets=without_secrets)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        document.readable = False
        document.mistakes[""] = f"not a valid INI file: {_ini_problem(error)}"
        return document
    if not parser.has_section("Main"):
        document.readable = False
        document.mistakes["[Main]"] = "is missing; it has username, password and api_key"
        return document
    main = {
        name: _substitute(value, f"[Main] {name}", document, environ)
        for name, value in parser["Main"].items()
    }
    for name in ("username", "password", "api_key"):
        if not main.setdefault(name, ""):
            document.mistakes[f"[Main] {name}"] = "is missing"
            main[name] = UNSET
    for name in main.keys() - {"username", "password", "api_key"}:
        known = "known: username, password, api_key"
        document.mistakes[f"[Main] {masked_name(name)}"] = f"unknown option; {known}"
    document.data = {
        "fitten": {"accounts": [{"username": main["username"], "password": main["password"]}]},
        "middlewares": default_middlewares(main["api_key"]),
    }
    return document


def default_middlewares(api_key: Any) -> list[Any]:
    """Return the chain for an INI file, and for the demo, with this one key."""
    return [
        "request_id",
        "request_log",
        {"cors": {"allow_origins": []}},
        {"api_key": {"keys": [{"name": "default", "key": api_key}]}},
        {"rate_limit": {"requests_per_minute": 60}},
    ]


def _read_node(
    node: yaml.Node, path: str, document: ConfigDocument, environ: Mapping[str, str]
) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = f"{path}.{key}" if path else key
            if key in mapping:
                place = f"{path}.{masked_name(key)}" if path else masked_name(key)
                document.mistakes[place] = f"given twice, again in line {_line(key_node)}"
            document.lines[inner] = _line(key_node)
            mapping[key] = _read_node(value_node, inner, document, environ)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [
            _read_node(item, f"{path}[{i}]", document, environ) for i, item in enumerate(node.value)
        ]
    if not node.tag.startswith(_YAML) or "/" in node.tag:
        raise yaml.MarkedYAMLError(problem="a tag that is not known", problem_mark=node.start_mark)
    value = node.value
    if node.tag in _TYPED:
        try:
            value = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError):
            document.mistakes[path] = "not a valid value"
            return UNSET
    return _substitute(value, path, document, environ) if isinstance(value, str) else value


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Return the parser's message without the text that it quotes: `*abc` may be a password."""
    return _QUOTED.sub(r"\1", str(getattr(error, "problem", None) or type(error).__name__))


def _ini_problem(error: configparser.Error) -> str:
    """Describe an error of the INI parser, whose own message quotes whole lines."""
    if isinstance(error, configparser.DuplicateOptionError):
        return f"an option is given twice, again in line {error.lineno}"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"a section is there twice, again in line {error.lineno}"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} is before the first [section]"
    if isinstance(error, configparser.ParsingError) and error.errors:
        return f"line {error.errors[0][0]} is neither a [section] nor name = value"
    return type(error).__name__


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _substitute(text: str, path: str, document: ConfigDocument, environ: Mapping[str, str]) -> Any:
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
        return value or default or ""

    missing: list[str] = []
    value = _VARIABLE.sub(replacement, text)
    if missing:
        names = " and ".join(missing)
        faults.insert(
            0, f"the environment variable {names} is not set; set it, or write the value here"
        )
    if faults:
        document.mistakes[path] = "; ".join(faults)
        return UNSET
    return value
