"""Prints tables and JSON for the commands, so that no text can move a cursor or forge a line."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from gateway.redaction import os_error_text, printable

FAILED = 1
"""The exit status of a command that could not do what it was asked for."""

USAGE_ERROR = 2
"""The exit status of a wrong configuration or command line; argparse uses it too."""

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def run_command(command: Callable[[], int]) -> int:
    """Run a command that prints; return its exit status, also if nobody reads what it prints.

    Without a standard output it is not run: the text of a new key would be lost.
    """
    if sys.stderr is None:  # `2>&-`: the hints must not go to the standard output
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  it stays open
    if sys.stdout is None:
        print_note("There is no standard output, so nothing was done.")
        return USAGE_ERROR
    for stream in (sys.stdout, sys.stderr):
        _never_fail(stream)
    try:
        status = command()
        sys.stdout.flush()
    except BrokenPipeError:  # `requests | head`: nobody reads the rest
        drop_output()
        return 0
    except KeyboardInterrupt:
        print_note("Interrupted.")
        return INTERRUPTED
    except OSError as error:  # of the output: the commands name all others
        drop_output()
        print_note(f"The output cannot be written: {os_error_text(error)}.")
        return FAILED
    return status


def drop_output() -> None:
    """Drop what is printed from now on, and what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(data: Any) -> None:
    """Print a value as one line of JSON, in printable ASCII only."""
    print(json.dumps(data).replace("\x7f", "\\u007f"))


def print_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows under the names of their columns; columns of numbers stand to the right."""
    rows = list(rows)
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    numbers = [all(isinstance(row[name], int) for row in rows) for name in columns]
    for line in [list(columns), *cells]:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ]
        print("  ".join(padded).rstrip())


def print_members(data: Mapping[str, Any]) -> None:
    """Print each member of an object as a line."""
    for name, value in data.items():
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
        print(f"{name.replace('_', ' ')}: {_cell(shown)}")


def print_note(text: str) -> None:
    """Print what is for the person at the terminal, beside the output that a program reads."""
    print(printable(text), file=sys.stderr)


def program() -> str:
    """Return how this program is started, for a command that a person can copy."""
    name = os.path.basename(sys.argv[0])
    return name if name == "fitten-gateway" else f"{shlex.quote(sys.executable)} -m gateway"


def _never_fail(stream: TextIO) -> None:
    """Let a stream escape what its encoding does not have."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _cell(value: Any) -> str:
    return "-" if value is None or value == "" else printable(str(value))
