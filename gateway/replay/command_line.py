"""Declares the command replay, and runs it with what it was given."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gateway.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Add the parser of replay."""
    replay = commands.add_parser(
        "replay", help="read an answer again that the flight recorder kept; exit 0, 1 or 2"
    )
    replay.add_argument("file", metavar="FILE", type=Path, help="the file of the record")
    forms = replay.add_mutually_exclusive_group()
    for form, what in (("json", "print JSON"), ("test", "print a test case for pytest")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=what)
    replay.set_defaults(form="text", run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from gateway.replay.command import run

    try:
        status = run(arguments.file, arguments.form)
        sys.stdout.flush()
    except BrokenPipeError:  # `replay | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status
