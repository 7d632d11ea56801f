"""Runs the commands keys, teams, admin-keys, grant and audit, with or without a gateway."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from gateway.admin.client.administration import Administration, Collection, JsonObject
from gateway.admin.client.execution import execute, target_of
from gateway.admin.client.object_tables import (
    local_time,
    print_audit,
    print_object,
    print_objects,
)
from gateway.admin.client.refusal import AdminRefusal
from gateway.admin.client.target import administration
from gateway.limits.names import LIMIT_NAMES
from gateway.redaction import os_error_text
from gateway.terminal import drop_output, print_json, print_note

_NOUNS: Final[dict[str, str]] = {"keys": "Key", "teams": "Team", "admin-keys": "Admin key"}
_DONE: Final = {"block": "is blocked", "unblock": "is admitted again", "set": "was changed"}


def run(arguments: argparse.Namespace) -> int:
    """Run one of these commands; return the exit status."""

    def work() -> None:
        with administration(target_of(arguments), os.environ) as admin:
            if arguments.command == "grant":
                _grant(admin, arguments)
            elif arguments.command == "audit":
                _audit(admin, arguments)
            else:
                _run(admin, arguments.command, arguments)

    return execute(work, as_json=arguments.json)


def _run(admin: Administration, kind: Collection, arguments: argparse.Namespace) -> None:
    action = arguments.action
    if action == "list":
        found = admin.objects(kind)
        if team := getattr(arguments, "team", None):
            found = [one for one in found if team in (one["team"] or {}).values()]
        _show(kind, found, arguments)
    elif action == "show":
        _show(kind, admin.find(kind, arguments.name), arguments)
    elif action == "add":
        made = admin.add(kind, {"name": arguments.name, **_fields(arguments)})
        _report(kind, made, "was made", arguments)
    elif action == "set":
        _change(admin, kind, arguments)
    elif action in ("delete", "forget"):
        keys = getattr(arguments, "keys", None)
        admin.delete(kind, arguments.name, keys, forget=action == "forget")
        if arguments.json:
            print_json({"name": arguments.name, "deleted": True})
        what = "deleted" if action == "delete" else "deleted, and its name replaced by its id"
        print_note(f"{_NOUNS[kind]} {arguments.name} was {what}.")
    elif action == "rotate":
        body = {"grace_ms": arguments.grace * 1000}
        made = admin.act(kind, arguments.name, "rotate", body)
        _report(kind, made, f"was rotated; {_former(arguments.grace)}", arguments)
    else:
        changed = admin.act(kind, arguments.name, action, _block_fields(arguments))
        ended = changed.get("ended")
        more = "" if ended is None else f"; {ended} open requests were ended"
        _report(kind, changed, f"{_DONE[action]}{more}", arguments)


def _block_fields(arguments: argparse.Namespace) -> JsonObject:
    """Return the members of the body of a block; there are none for another action."""
    given = vars(arguments)
    body: JsonObject = {"reason": given["reason"]} if "reason" in given else {}
    return body | ({"end_requests": True} if given.get("end_requests") else {})


def _change(admin: Administration, kind: Collection, arguments: argparse.Namespace) -> None:
    body = _fields(arguments)
    if hasattr(arguments, "new_name"):
        body["name"] = arguments.new_name
    found = admin.find(kind, arguments.name)
    changed = admin.change(kind, found, body) if body else found
    _report(kind, changed, _DONE["set"] if body else "stays as it was", arguments)


def _grant(admin: Administration, arguments: argparse.Namespace) -> None:
    kind: Collection = "teams" if arguments.team else "keys"
    found = admin.find(kind, arguments.name)
    made = admin.grant(
        {
            "scope": "team" if arguments.team else "key",
            "scope_id": found["id"] or found["name"],
            "limit": arguments.limit,
            "amount": arguments.amount,
            "period": arguments.period,
            "reason": arguments.reason,
        }
    )
    if arguments.json:
        print_json(made)
    print_note(
        f"{_NOUNS[kind]} {made['name']} has {made['amount']} more of {made['limit']} in "
        f"{made['period']}.{_applied(made)}"
    )


def _audit(admin: Administration, arguments: argparse.Namespace) -> None:
    since = None if arguments.since is None else max(0, _now() - arguments.since * 1000)
    rows = admin.audit(
        {
            "since": since,
            "actor": arguments.actor,
            "action": arguments.action,
            "object_id": arguments.object,
            "limit": arguments.limit,
        }
    )
    if arguments.json:
        print_json({"rows": rows})
    else:
        print_audit(rows)


def _fields(arguments: argparse.Namespace) -> JsonObject:
    """Return the members of a body that the command line has."""
    given = vars(arguments)
    members = ("team", "models", "routes", "role", "note")
    body: JsonObject = {name: given[name] for name in members if name in given}
    limits = {name: given[name] for name in LIMIT_NAMES if name in given}
    if limits:
        body["limits"] = limits
    if "expires" in given:
        left = given["expires"]
        body["expires_at"] = None if left is None else _now() + left * 1000
    return body


def _show(kind: Collection, found: Any, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json({kind.replace("-", "_"): found} if isinstance(found, list) else found)
    elif isinstance(found, list):
        print_objects(kind, found)
    else:
        print_object(found)


def _report(
    kind: Collection, found: Mapping[str, Any], what: str, arguments: argparse.Namespace
) -> None:
    """Print what became of an object. Only the text of a key goes to the standard output."""
    text = found.get("key")
    try:
        if arguments.json:
            print_json(found)
        elif text is not None:
            print(text)
        sys.stdout.flush()
    except OSError as error:
        if text is None:
            raise
        drop_output()
        raise AdminRefusal(
            f"{_NOUNS[kind]} {found['name']} (id {found['id']}) {what}, but its text could not be "
            f"written: {os_error_text(error)}. It is lost; give the key another one: {kind} rotate."
        ) from None
    print_note(f"{_NOUNS[kind]} {found['name']} (id {found['id']}) {what}.{_applied(found)}")
    if text is not None:
        print_note("Its text above is shown this once; the gateway keeps only a digest of it.")


def _applied(found: Mapping[str, Any]) -> str:
    """Return how many processes do not use a change yet, if some do not."""
    applied = found.get("applied") or {}
    if applied.get("confirmed") == applied.get("of"):
        return ""
    return f" {applied['confirmed']} of {applied['of']} processes use it; the rest follow at once."


def _former(grace: int) -> str:
    if not grace:
        return "the former text is refused from now on"
    return f"the former text works until {local_time(_now() + grace * 1000)}"


def _now() -> int:
    return time.time_ns() // 1_000_000
