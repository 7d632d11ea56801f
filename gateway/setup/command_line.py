"""Declares the commands setup, run and statusline, and runs them with what they were given."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.arguments import Commands, add_config_option

if TYPE_CHECKING:
    from gateway.setup.arguments import SetupArguments


def add_commands(commands: Commands) -> None:
    """Add the parsers of the commands that connect clients."""
    setup = commands.add_parser(
        "setup", help="print the settings of a client, such as codex; the list without a name"
    )
    setup.add_argument("client", metavar="CLIENT", nargs="?", help="the name of the client")
    setup.add_argument("--json", action="store_true", help="print JSON")
    run = commands.add_parser(
        "run",
        help="start a coding agent that uses the gateway; no file of yours is changed",
        usage="%(prog)s [options] {claude,codex,opencode,qwen} [-- ARGUMENT ...]",
    )
    run.add_argument(
        "agent",
        choices=("claude", "codex", "opencode", "qwen"),
        help="the program; what follows -- is passed on to it",
    )
    statusline = commands.add_parser(
        "statusline", help="print what is left of a key's limits, for the status line of an agent"
    )
    for command in (setup, run, statusline):
        _add_target_options(command)
    for command in (setup, run):
        command.add_argument("--model", metavar="NAME", help="the model; fitten-code unless given")
        command.add_argument(
            "--lean", action="store_true", help="leave out the tools that cost most"
        )
    setup.set_defaults(run=_print_setup)
    run.set_defaults(run=_launch)
    statusline.set_defaults(run=_print_statusline)


def _add_target_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--url",
        metavar="URL",
        help="the gateway's address; unless given, that of server in the configuration",
    )
    command.add_argument(
        "--key-file",
        metavar="PATH",
        type=Path,
        help="the file of the key; unless given, the variable FITTEN_GATEWAY_KEY",
    )
    add_config_option(command)


def _print_setup(arguments: argparse.Namespace) -> int:
    from gateway.setup.command import print_setup

    return print_setup(arguments.client, _setup(arguments), as_json=arguments.json)


def _launch(arguments: argparse.Namespace) -> int:
    from gateway.setup.launch import launch

    return launch(arguments.agent, arguments.rest, _setup(arguments))


def _print_statusline(arguments: argparse.Namespace) -> int:
    from gateway.setup.statusline import print_statusline

    return print_statusline(arguments.url, arguments.key_file, arguments.config, os.environ)


def _setup(arguments: argparse.Namespace) -> SetupArguments:
    from gateway.setup.arguments import SetupArguments

    return SetupArguments(
        config=arguments.config,
        url=arguments.url,
        model=arguments.model,
        key_file=arguments.key_file,
        lean=arguments.lean,
    )
