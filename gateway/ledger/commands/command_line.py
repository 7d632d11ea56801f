"""Declares the commands usage, requests and db, and runs them with what they were given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.arguments import Commands, add_config_option, add_json_option, row_count

if TYPE_CHECKING:
    from datetime import tzinfo

COMMANDS = ("usage", "requests", "db")


def add_commands(commands: Commands) -> None:
    """Add the parsers of the commands that read the ledger."""
    usage = commands.add_parser("usage", help="print who used how much")
    requests = commands.add_parser("requests", help="print the last requests, newest first")
    store = commands.add_parser("db", help="show, migrate, copy or check the ledger's database")
    usage.add_argument(
        "--by",
        metavar="NAMES",
        default="key",
        help="key, team, model, day, route, or several such as day,model; key unless given",
    )
    for command in (usage, requests):
        for end in ("since", "until"):
            command.add_argument(
                f"--{end}", metavar="TIME", help="an age such as 12h or 7d, or a day: 2026-01-31"
            )
        for name in ("key", "team", "model", "route"):
            command.add_argument(f"--{name}", metavar="NAME", help=f"of this {name} only")
    requests.add_argument("--failed", action="store_true", help="only those that did not complete")
    requests.add_argument(
        "--limit",
        metavar="N",
        type=row_count,
        default=100,
        help="at most so many; 100 unless given",
    )
    store.add_argument("action", choices=("status", "migrate", "backup", "verify"))
    store.add_argument("--to", metavar="FILE", type=Path, help="the file that backup writes")
    add_config_option(usage, requests, store)
    add_json_option(usage, requests, store)


def run(arguments: argparse.Namespace, file: Path | None, zone: tzinfo) -> int:
    """Run one of these commands; return the exit status.

    file: the database; None for no store. zone: where a day begins.
    """
    from gateway.ledger.commands import command

    if arguments.command == "db":
        action, target = arguments.action, arguments.to
        return command.manage_store(file, action, target=target, as_json=arguments.json)
    names = ("since", "until", "key", "team", "model", "route")
    chosen = {name: getattr(arguments, name) for name in names}
    day_of = command.days_in(zone)
    if arguments.command == "usage":
        by = tuple(arguments.by.split(","))
        options = command.LedgerOptions(**chosen, by=by, as_json=arguments.json)
        return command.show_usage(file, options, day_of=day_of)
    options = command.LedgerOptions(
        **chosen, failed=arguments.failed, limit=arguments.limit, as_json=arguments.json
    )
    return command.show_requests(file, options, day_of=day_of)
