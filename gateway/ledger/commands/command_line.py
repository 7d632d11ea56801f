"""Declares the commands usage, requests and db, and runs them with what they were given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.arguments import (
    Commands,
    add_admin_options,
    add_config_option,
    add_json_option,
    row_count,
)

if TYPE_CHECKING:
    from datetime import tzinfo

    from gateway.ledger.commands.source import LedgerSource

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
    requests.add_argument(
        "--id", metavar="ID", help="the one of this id: of the row, or in the client's x-request-id"
    )
    requests.add_argument(
        "--status", metavar="N", type=int, help="only those whose client got this status"
    )
    requests.add_argument("--cause", metavar="NAME", help="only those that failed for this cause")
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
    for command in (usage, requests):
        add_admin_options(command)
    add_config_option(store)
    add_json_option(requests, store)
    forms = usage.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print JSON")
    forms.add_argument("--csv", action="store_true", help="print CSV, without formulas")


def manage(arguments: argparse.Namespace, file: Path | None) -> int:
    """Run db; return the exit status. file: the database; None for no store."""
    from gateway.ledger.commands import command

    return command.manage_store(file, arguments.action, target=arguments.to, as_json=arguments.json)


def show_file(arguments: argparse.Namespace, file: Path | None, zone: tzinfo) -> int:
    """Run usage or requests on the database of this machine; return the exit status.

    zone: where a day begins.
    """
    from gateway.ledger.commands import command
    from gateway.ledger.commands.source import LedgerFile

    return show(arguments, LedgerFile(file, command.days_in(zone)))


def show(arguments: argparse.Namespace, source: LedgerSource) -> int:
    """Run usage or requests; return the exit status."""
    from gateway.ledger.commands import command

    names = ("since", "until", "key", "team", "model", "route")
    chosen = {name: getattr(arguments, name) for name in names}
    if arguments.command == "usage":
        by = tuple(arguments.by.split(","))
        options = command.LedgerOptions(
            **chosen, by=by, as_json=arguments.json, as_csv=arguments.csv
        )
        return command.show_usage(source, options)
    options = command.LedgerOptions(
        **chosen,
        failed=arguments.failed,
        id=arguments.id,
        status=arguments.status,
        cause=arguments.cause,
        limit=arguments.limit,
        as_json=arguments.json,
    )
    return command.show_requests(source, options)
