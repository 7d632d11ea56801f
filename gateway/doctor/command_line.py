"""Declares the command doctor, and runs it with what it was given."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.arguments import Commands, add_config_option

if TYPE_CHECKING:
    from gateway.config.settings import Config


def add_commands(commands: Commands) -> None:
    """Add the parser of doctor."""
    doctor = commands.add_parser(
        "doctor", help="run checks that need a login at Fitten; no gateway may run meanwhile"
    )
    add_config_option(doctor)
    doctor.set_defaults(host=None, port=None)
    doctor.add_argument(
        "--tools",
        action="store_true",
        help="send about 20 chats per notation of tool calls; say which fits the model best",
    )
    doctor.add_argument("--model", metavar="NAME", help="the model; Fitten's default unless given")
    doctor.add_argument(
        "--notation",
        metavar="NAME",
        action="append",
        default=[],
        help="measure this notation only; may be repeated",
    )
    doctor.add_argument("--json", action="store_true", help="print the result as JSON")
    doctor.add_argument("--yes", action="store_true", help="do not ask before chats are sent")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Run the checks; return the exit status."""
    from gateway.doctor.command import DoctorOptions, check_tools

    options = DoctorOptions(
        model=arguments.model,
        notations=tuple(arguments.notation),
        as_json=arguments.json,
        confirmed=arguments.yes,
    )
    return check_tools(config, options)
