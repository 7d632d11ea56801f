"""Reads the INI configuration file of the original program into plain data.

Imported only for a file that ends in `.ini`: the parser is not needed otherwise.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.file import ConfigDocument, substitute
from gateway.options import UNSET, did_you_mean
from gateway.redaction import masked_name

_OPTIONS = ("username", "password", "api_key")
_LOG_FILE = "fitten_api.log"  # as the original program calls it
_NO_SECTION = "is missing; it has username, password and api_key"
# Where the settings have what the file calls otherwise.
_PATHS = {
    "username": "fitten.accounts[0].username",
    "password": "fitten.accounts[0].password",
    "api_key": "middlewares[3].api_key.keys[0].key",
}
_SECTION = re.compile(r"\[(?P<header>.+)\]")
_OPTION = re.compile(r"(?P<name>[^\s#;=:\[][^=:]*?)\s*[=:]")


def read_ini(
    text: str, environ: Mapping[str, str], *, folder: Path, without_secrets: bool = False
) -> ConfigDocument:
    """Parse the original program's config.ini: `[Main]` with username, password and api_key.

    `[log]` may have the options of our section of that name. Its default file is
    `fitten_api.log` in `folder`, which is that of the file.
    """
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    document = ConfigDocument(without_secrets=without_secrets)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        document.readable = False
        document.lines[""], problem = _ini_problem(error)
        document.mistakes[""] = f"not a valid INI file: {problem}"
        return document
    lines = _lines_of(text)
    sections: dict[str, str] = {}
    for section in parser.sections():
        where = f"[{section}]"
        document.lines[where] = lines[where]
        if section.lower() not in ("main", "log"):
            where = f"[{masked_name(section)}]"
            document.lines[where] = lines[f"[{section}]"]
            document.mistakes[where] = "unknown section; known: [Main], [log]"
        elif section.lower() in sections:
            document.mistakes[where] = f"is there twice, also as [{sections[section.lower()]}]"
        else:
            sections[section.lower()] = section
    if "main" not in sections:
        document.readable = False
        document.mistakes["[Main]"] = _NO_SECTION
        return document
    document.data = _read_main(parser[sections["main"]], lines, document, environ)
    log: dict[str, Any] = {"file": str(folder / _LOG_FILE)}
    for name, value in parser[sections["log"]].items() if "log" in sections else ():
        document.lines[f"log.{name}"] = lines[f"[{sections['log']}] {name}"]
        document.names[f"log.{name}"] = f"[log] {masked_name(name)}"
        log[name] = substitute(value, f"log.{name}", document, environ) or None
    document.data["log"] = log
    return document


def _read_main(
    section: configparser.SectionProxy,
    lines: Mapping[str, int],
    document: ConfigDocument,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """Return the settings that the section `[Main]` stands for."""
    main: dict[str, Any] = dict.fromkeys(_OPTIONS, UNSET)
    for name, value in section.items():
        where = f"[Main] {masked_name(name)}"
        document.lines[where] = lines[f"[{section.name}] {name}"]
        if name not in _OPTIONS:
            question = did_you_mean(name, _OPTIONS)
            document.mistakes[where] = f"unknown option;{question} known: {', '.join(_OPTIONS)}"
            continue
        main[name] = substitute(value, where, document, environ)
    for name in _OPTIONS:
        where = f"[Main] {name}"
        document.lines.setdefault(where, document.lines[f"[{section.name}]"])
        document.lines[_PATHS[name]] = document.lines[where]
        document.names[_PATHS[name]] = where
        if main[name] is UNSET or not main[name]:
            document.mistakes.setdefault(where, "is missing")
            main[name] = UNSET
    return {
        "fitten": {"accounts": [{"username": main["username"], "password": main["password"]}]},
        "middlewares": default_middlewares(main["api_key"]),
    }


def _lines_of(text: str) -> dict[str, int]:
    """Return the line of each section and option; the parser has no lines."""
    found: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _SECTION.match(line.strip()):
            section = f"[{header['header']}]"
            found.setdefault(section, number)
        elif option := _OPTION.match(line.strip()):
            found.setdefault(f"{section} {option['name'].lower()}", number)
    return found


def default_middlewares(api_key: Any) -> list[Any]:
    """Return the chain for an INI file, and for the demo, with this one key."""
    return [
        "request_id",
        "request_log",
        {"cors": {"allow_origins": []}},
        {"api_key": {"keys": [{"name": "default", "key": api_key}]}},
        {
            "rate_limit": {
                "requests_per_minute": 60,
                "completions_per_minute": 300,
                "listings_per_minute": 120,
                "concurrency": 8,
            }
        },
    ]


def _ini_problem(error: configparser.Error) -> tuple[int, str]:
    """Describe an error of the INI parser, whose own message quotes whole lines.

    Returns the line and what is wrong there.
    """
    if isinstance(error, configparser.DuplicateOptionError):
        return error.lineno or 1, "an option is given a second time"
    if isinstance(error, configparser.DuplicateSectionError):
        return error.lineno or 1, "a section is there a second time"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return error.lineno, "text before the first [section]"
    if isinstance(error, configparser.ParsingError) and error.errors:
        return error.errors[0][0], "neither a [section] nor name = value"
    return 1, type(error).__name__
