"""Declares options that several commands have, and reads what their values mean.

Imported for `--help` too, so that it imports nothing but `argparse`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""To what a package adds the parsers of its commands."""

ADMIN_URL_VARIABLE = "FITTEN_GATEWAY_ADMIN_URL"
"""The environment variable with the address of an admin API."""

_LARGEST_PORT = 65_535
_MOST_ROWS = 1_000_000
_LARGEST_AMOUNT = 10**15
_FACTORS = {"k": 1_000, "m": 1_000_000}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_AGE = 366 * 100 * 86_400


def add_config_option(*commands: argparse.ArgumentParser) -> None:
    """Add `--config`: the configuration of the gateway on this machine."""
    for command in commands:
        command.add_argument(
            "--config",
            metavar="PATH",
            default=_default_config(),
            type=Path,
            help="the configuration file; unless given, config.local.yaml if there is one, "
            "else config.yaml",
        )


def add_admin_options(command: argparse.ArgumentParser) -> None:
    """Add what names a running gateway: `--config` on this machine, or `--url` with a key."""
    add_config_option(command)
    command.add_argument(
        "--url",
        metavar="URL",
        help="the address of an admin API, such as http://127.0.0.1:5001; unless given, the "
        f"variable {ADMIN_URL_VARIABLE}, else the gateway of --config on this machine",
    )
    command.add_argument(
        "--key-file",
        metavar="PATH",
        type=Path,
        help="for --url: a file of mode 0600 with the admin key; unless given, the variable "
        "FITTEN_GATEWAY_ADMIN_KEY",
    )


def add_json_option(*commands: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    for command in commands:
        command.add_argument("--json", action="store_true", help="print JSON")


def port(text: str) -> int:
    """Return the port that is written on the command line."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expected a port, such as 5000") from None
    if not 0 <= number <= _LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{number} is no port; allowed: 0 to {_LARGEST_PORT}")
    return number


def row_count(text: str) -> int:
    """Return the number of rows that is written on the command line."""
    if not text.isdecimal() or not 0 < int(text) <= _MOST_ROWS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {_MOST_ROWS}")
    return int(text)


def amount(text: str) -> int:
    """Return a number that may end in `k` (thousand) or `m` (million), such as `1.5m`."""
    factor = _FACTORS.get(text[-1:].lower(), 1)
    whole, point, part = (text[:-1] if factor > 1 else text).strip().partition(".")
    digits = f"{whole}{part}"
    fits = digits.isascii() and digits.isdecimal() and bool(whole) and bool(part) == bool(point)
    if fits and len(digits) <= 16:
        scale: int = 10 ** len(part)
        number, rest = divmod(int(digits) * factor, scale)
        if not rest and number <= _LARGEST_AMOUNT:
            return number
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number like 600, 500k or 1.5m")


def seconds(text: str) -> int:
    """Return the seconds of an age such as `90s`, `30m`, `24h` or `90d`; 0 is 0 without a unit."""
    number, unit = text[:-1], text[-1:]
    if text == "0":
        return 0
    if number.isascii() and number.isdecimal() and len(number) <= 10 and unit in _SECONDS:
        found = int(number) * _SECONDS[unit]
        if found <= _LONGEST_AGE:
            return found
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is no time like 30m, 24h or 90d")


def _default_config() -> Path:
    """Return the file of this machine alone, which is not under version control, if it exists."""
    local = Path("config.local.yaml")
    return local if local.exists() else Path("config.yaml")
