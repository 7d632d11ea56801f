"""Reads the INI configuration file of the original program into plain data.

Imported only for a file that ends in `.ini`: the parser is not needed otherwise.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from typing import Any

from gateway.config.file import ConfigDocument, substitute
from gateway.options import UNSET
from gateway.redaction import masked_name


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
        name: substitute(value, f"[Main] {name}", document, environ)
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
