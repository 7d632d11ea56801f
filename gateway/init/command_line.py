"""Declares the command init, and runs it with what it was given."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.arguments import Commands, add_json_option, port


def add_commands(commands: Commands) -> None:
    """Add the parser of init."""
    init = commands.add_parser(
        "init",
        help="ask for the account, write config.local.yaml, make the first key and admin key",
    )
    init.add_argument(
        "--config",
        metavar="PATH",
        type=Path,
        default=Path("config.local.yaml"),
        help="the file to write; it must not exist",
    )
    init.add_argument(
        "--username",
        metavar="NAME",
        help="the Fitten account. Without a terminal, the password is the first line of the "
        "standard input",
    )
    init.add_argument("--port", type=port, default=5000, help="port of the APIs; 5000 unless given")
    init.add_argument(
        "--admin-port", type=port, default=5001, help="port of the admin API; 5001 unless given"
    )
    init.add_argument(
        "--key",
        metavar="NAME",
        default="first",
        help="the name of the first key; first unless given",
    )
    add_json_option(init)
    init.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from gateway.init.command import InitOptions, init

    return init(
        InitOptions(
            config=arguments.config,
            username=arguments.username,
            port=arguments.port,
            admin_port=arguments.admin_port,
            key=arguments.key,
            as_json=arguments.json,
        )
    )
