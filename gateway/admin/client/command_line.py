"""Declares the commands that run a gateway: keys, teams, admin-keys, grant, audit, live and more.

A key or an admin key is never an argument: other users of the machine see those.
"""

from __future__ import annotations

import argparse
import os
from typing import Final

from gateway.arguments import (
    ADMIN_URL_VARIABLE,
    Commands,
    add_admin_options,
    add_json_option,
    amount,
    row_count,
    seconds,
)
from gateway.limits.names import LIMIT_NAMES

COMMANDS: Final = (
    *("keys", "teams", "admin-keys", "grant", "audit", "accounts", "live", "status"),
)
GRANTED: Final = ("requests_per_day", "requests_per_month", "tokens_per_day", "tokens_per_month")
"""The limits that a grant can raise."""

_ROLES: Final = ("admin", "viewer", "metrics")
_LONGEST_GRACE: Final = 30 * 86_400


def add_commands(commands: Commands) -> None:
    """Add the parsers of the commands that run a gateway."""
    _add_keys(commands)
    _add_teams(commands)
    _add_admin_keys(commands)
    grant = _parser(commands, "grant", "raise a budget of a key for a day or a month")
    grant.add_argument("name", metavar="NAME", help="the name or id of the key")
    grant.add_argument("limit", metavar="LIMIT", choices=GRANTED, help=", ".join(GRANTED))
    grant.add_argument("amount", metavar="AMOUNT", type=amount, help="what is added, such as 500k")
    grant.add_argument("--period", help="a day or a month: 2026-01-31, 2026-01; now unless given")
    grant.add_argument("--team", action="store_true", help="NAME is a team")
    grant.add_argument("--reason", metavar="TEXT", default="", help="kept in the audit")
    audit = _parser(commands, "audit", "print who changed what, the newest first")
    audit.add_argument("--since", metavar="AGE", type=seconds, help="an age such as 12h or 7d")
    audit.add_argument("--actor", metavar="NAME", help="changes of this admin only")
    audit.add_argument("--action", metavar="NAME", help="such as key.rotate only")
    audit.add_argument("--object", metavar="ID", help="of the key or team with this id only")
    audit.add_argument(
        "--limit",
        metavar="N",
        type=row_count,
        default=100,
        help="at most so many; 100 unless given",
    )
    status = _parser(commands, "status", "print how the gateway is")
    for command in (grant, audit, status):
        _add_target(command)
    accounts = commands.add_parser("accounts", help="list the Fitten accounts, let one rest")
    actions = accounts.add_subparsers(dest="action", required=True)
    _action(actions, "list", "print every account")
    pause = _action(actions, "pause", "send an account no more requests", "ACCOUNT")
    pause.add_argument(
        "--for", dest="seconds", metavar="AGE", type=seconds, help="for 30m, 2h; else until resumed"
    )
    _action(actions, "resume", "use an account again", "ACCOUNT")
    _action(actions, "login", "log an account in again", "ACCOUNT")
    live = commands.add_parser("live", help="list the requests that are open, end one")
    actions = live.add_subparsers(dest="action", required=True)
    _action(actions, "list", "print every open request")
    _action(actions, "end", "end a request with an error", "ID")


def _add_keys(commands: Commands) -> None:
    keys = commands.add_parser("keys", help="make, limit, rotate and revoke API keys")
    actions = keys.add_subparsers(dest="action", required=True)
    add = _action(actions, "add", "make a key; its text is printed this once", "NAME")
    shown = _action(actions, "list", "print every key")
    shown.add_argument("--team", metavar="TEAM", help="of this team only")
    changed = _action(actions, "set", "change a key; what is not named stays", "KEY")
    changed.add_argument("--name", dest="new_name", metavar="NAME", default=argparse.SUPPRESS)
    for command in (add, changed):
        command.add_argument(
            "--team", metavar="TEAM", type=_text, default=argparse.SUPPRESS, help="none for no team"
        )
        for name in ("models", "routes"):
            command.add_argument(
                f"--{name}",
                metavar="NAMES",
                type=_names,
                default=argparse.SUPPRESS,
                help=f"the {name} that are allowed, with commas between; all for no limit",
            )
        _add_limits(command)
        _add_expiry(command)
        _add_note(command)
    block = _add_lifecycle(actions)
    block.add_argument(
        "--end-requests", action="store_true", help="end its open requests with an error too"
    )


def _add_admin_keys(commands: Commands) -> None:
    keys = commands.add_parser("admin-keys", help="make and revoke keys of the admin API")
    actions = keys.add_subparsers(dest="action", required=True)
    add = _action(actions, "add", "make an admin key; its text is printed this once", "NAME")
    add.add_argument("--role", required=True, choices=_ROLES, help="what it may do")
    _action(actions, "list", "print every admin key")
    changed = _action(actions, "set", "change an admin key; what is not named stays", "KEY")
    changed.add_argument("--name", dest="new_name", metavar="NAME", default=argparse.SUPPRESS)
    changed.add_argument("--role", choices=_ROLES, default=argparse.SUPPRESS)
    for command in (add, changed):
        _add_expiry(command)
        _add_note(command)
    _add_lifecycle(actions)


def _add_teams(commands: Commands) -> None:
    teams = commands.add_parser("teams", help="make, limit and block teams of keys")
    actions = teams.add_subparsers(dest="action", required=True)
    add = _action(actions, "add", "make a team", "NAME")
    _action(actions, "list", "print every team")
    _action(actions, "show", "print a team", "TEAM")
    changed = _action(actions, "set", "change a team; what is not named stays", "TEAM")
    changed.add_argument("--name", dest="new_name", metavar="NAME", default=argparse.SUPPRESS)
    for command in (add, changed):
        _add_limits(command)
        _add_note(command)
    _action(actions, "block", "refuse all keys of a team from now on", "TEAM")
    _action(actions, "unblock", "admit the keys of a team again", "TEAM")
    for name, what in (
        ("delete", "delete a team"),
        ("forget", "delete a team, and replace its name everywhere by its id"),
    ):
        command = _action(actions, name, what, "TEAM")
        command.add_argument(
            "--keys",
            metavar="WHAT",
            type=_keys_of_team,
            default="refuse",
            help="its keys: refuse (delete nothing if there are some), block, or move:TEAM",
        )


def _add_lifecycle(actions: Commands) -> argparse.ArgumentParser:
    """Add the actions that keys of both kinds have; return the one that blocks."""
    _action(actions, "show", "print a key", "KEY")
    block = _action(actions, "block", "refuse a key from its next request on", "KEY")
    block.add_argument("--reason", metavar="TEXT", default="", help="what its owner is told")
    _action(actions, "unblock", "admit a key again", "KEY")
    rotate = _action(actions, "rotate", "give a key another text, printed this once", "KEY")
    rotate.add_argument(
        "--grace",
        metavar="AGE",
        type=_grace,
        default=24 * 3600,
        help="how long the former text works; 24h unless given, 0 if it has leaked",
    )
    _action(actions, "delete", "delete a key; what it has used stays in the ledger", "KEY")
    _action(actions, "forget", "delete a key, and replace its name everywhere by its id", "KEY")
    return block


def _action(
    actions: Commands, name: str, what: str, argument: str | None = None
) -> argparse.ArgumentParser:
    """Add what can be done with objects of a kind."""
    command = _parser(actions, name, what)
    if argument is not None:
        means = {"KEY": "the name or id of the key", "TEAM": "the name or id of the team"}
        command.add_argument("name", metavar=argument, help=means.get(argument))
    _add_target(command)
    return command


def _parser(commands: Commands, name: str, what: str) -> argparse.ArgumentParser:
    """Add a command whose options must be written out: --key is not short for --key-file."""
    return commands.add_parser(name, help=what, description=what, allow_abbrev=False)


def _add_target(command: argparse.ArgumentParser) -> None:
    add_admin_options(command)
    add_json_option(command)


def _add_limits(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "limits", "a number such as 60, 500k or 2m; none for no limit"
    )
    for name in LIMIT_NAMES:
        group.add_argument(
            f"--{name.replace('_', '-')}", metavar="N", type=_limit, default=argparse.SUPPRESS
        )


def _add_expiry(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--expires",
        metavar="AGE",
        type=_expiry,
        default=argparse.SUPPRESS,
        help="after how long it ends, such as 90d; or never",
    )


def _add_note(command: argparse.ArgumentParser) -> None:
    command.add_argument("--note", metavar="TEXT", default=argparse.SUPPRESS, help="for the admins")


def _keys_of_team(text: str) -> str:
    if text in ("refuse", "block") or text.removeprefix("move:") not in ("", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is none of refuse, block and move:TEAM")


def _text(text: str) -> str | None:
    return None if text == "none" else text


def _limit(text: str) -> int | None:
    return None if text == "none" else amount(text)


def _names(text: str) -> list[str] | None:
    if text == "all":
        return None
    return [] if text == "none" else text.split(",")


def _expiry(text: str) -> int | None:
    if text == "never":
        return None
    found = seconds(text)
    if found == 0:
        raise argparse.ArgumentTypeError("0 is no time to come; to end a key now, block it")
    return found


def _grace(text: str) -> int:
    found = seconds(text)
    if found > _LONGEST_GRACE:
        raise argparse.ArgumentTypeError("30d is the longest grace")
    return found


def show_ledger(arguments: argparse.Namespace) -> int | None:
    """Run usage or requests on a gateway elsewhere, if the command line names one.

    Return the exit status; None if the ledger of this machine is meant.
    """
    if not (arguments.url or arguments.key_file or os.environ.get(ADMIN_URL_VARIABLE)):
        return None
    from gateway.admin.client import remote_ledger

    return remote_ledger.run(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Run one of these commands; return the exit status."""
    if arguments.command in ("accounts", "live", "status"):
        from gateway.admin.client import node_commands

        return node_commands.run(arguments)
    from gateway.admin.client import object_commands

    return object_commands.run(arguments)
