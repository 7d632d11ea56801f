"""Runs the commands accounts, live and status, which need a running gateway."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any, Final

from gateway.admin.client.connection import AdminConnection, path_of
from gateway.admin.client.execution import execute, target_of
from gateway.admin.client.object_tables import local_time
from gateway.admin.client.target import connect
from gateway.terminal import print_json, print_members, print_note, print_table

_ACCOUNTS: Final = ("name", "state", "chats", "completions", "next_try_in", "reason")
_LIVE: Final = ("id", "at", "key", "team", "model", "route", "stream", "account", "bytes")
_DONE: Final = {"pause": "gets no more requests", "resume": "is used again", "login": "logged in"}


def run(arguments: argparse.Namespace) -> int:
    """Run one of these commands; return the exit status."""

    def work() -> None:
        connection = connect(target_of(arguments), os.environ)
        if arguments.command == "status":
            _status(connection, arguments)
        elif arguments.command == "live":
            _live(connection, arguments)
        else:
            _accounts(connection, arguments)

    return execute(work, as_json=arguments.json)


def _status(connection: AdminConnection, arguments: argparse.Namespace) -> None:
    found = connection.call("GET", path_of("health"))
    if arguments.json:
        print_json(found)
    else:
        times = {name: local_time(found[name]) for name in ("at", "started_at")}
        print_members({**found, **times})


def _live(connection: AdminConnection, arguments: argparse.Namespace) -> None:
    if arguments.action == "end":
        connection.call("DELETE", path_of("live", arguments.name))
        if arguments.json:
            print_json({"id": arguments.name, "ended": True})
        print_note(f"Request {arguments.name} was ended.")
        return
    found = connection.call("GET", path_of("live"))
    if arguments.json:
        print_json(found)
        return
    rows = [{**one, "at": local_time(one["at"])} for one in found["requests"]]
    print_table(_LIVE, [{name: row[name] for name in _LIVE} for row in rows])


def _accounts(connection: AdminConnection, arguments: argparse.Namespace) -> None:
    action = arguments.action
    if action == "list":
        found = connection.call("GET", path_of("accounts"))
        if arguments.json:
            print_json(found)
        else:
            print_table(_ACCOUNTS, map(_account_row, found["accounts"]))
        return
    body = {"seconds": arguments.seconds} if action == "pause" else {}
    changed = connection.call("POST", path_of("accounts", arguments.name, action), body)
    if arguments.json:
        print_json(changed)
    print_note(f"Account {arguments.name} {_DONE[action]}.")


def _account_row(account: Mapping[str, Any]) -> dict[str, Any]:
    left = account["next_try_in"]
    return {
        **account,
        "chats": f"{account['chats']} of {account['max_chats']}",
        "completions": f"{account['completions']} of {account['max_completions']}",
        "next_try_in": f"{round(left)} s" if left else None,
    }
