"""Prints keys, teams and rows of the audit for a person at the terminal."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.admin.client.administration import Collection, JsonObject
from gateway.terminal import print_members, print_table

_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "keys": ("name", "id", "state", "team", "limits", "models", "expires_at", "last4"),
    "teams": ("name", "id", "state", "keys", "limits"),
    "admin-keys": ("name", "id", "state", "role", "expires_at", "last4"),
}
_AUDIT: Final = ("at", "actor", "action", "object_name", "object_id", "change")
_TIMES: Final = ("created_at", "expires_at", "blocked_at", "at")
_UNITS: Final = ((1_000_000, "m"), (1000, "k"))


def print_objects(kind: Collection, found: Sequence[JsonObject]) -> None:
    """Print keys or teams as a table."""
    columns = _COLUMNS[kind]
    print_table(columns, [{name: _cell(one, name) for name in columns} for one in found])


def print_object(found: JsonObject) -> None:
    """Print a key or a team, a member a line."""
    hidden = ("secrets", "applied", "kind")
    members = {name: _cell(found, name) for name in found if name not in hidden}
    members |= {f"text ...{one['last4']}": _secret(one) for one in found.get("secrets", ())}
    print_members(members)


def print_audit(rows: Sequence[JsonObject]) -> None:
    """Print rows of the audit as a table."""
    print_table(_AUDIT, [{name: _audit_cell(row, name) for name in _AUDIT} for row in rows])


def local_time(at: int | None) -> str:
    """Return a time in milliseconds since 1970 as a minute of this machine's time zone."""
    if at is None:
        return ""
    return datetime.datetime.fromtimestamp(at / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def _cell(found: Mapping[str, Any], name: str) -> Any:
    if name == "state" and "state" not in found:  # of a team
        return "blocked" if found["blocked_at"] is not None else "active"
    if name == "last4":
        return ", ".join(one["last4"] for one in found["secrets"])
    value = found[name]
    if name == "id" and value is None:
        return "(config.yaml)"
    if name in _TIMES:
        return local_time(value)
    if name == "team":
        return value and value["name"]
    if name == "limits":
        return " ".join(f"{limit}={_amount(number)}" for limit, number in value.items())
    if name in ("models", "routes"):
        return "all" if value is None else ",".join(value) or "none"
    return value


def _amount(number: int) -> str:
    for size, unit in _UNITS:
        if number and number % size == 0:
            return f"{number // size}{unit}"
    return str(number)


def _secret(secret: Mapping[str, Any]) -> str:
    made = f"made {local_time(secret['created_at'])}"
    ends = secret["expires_at"]
    return made if ends is None else f"{made}, works until {local_time(ends)}"


def _audit_cell(row: Mapping[str, Any], name: str) -> Any:
    if name == "at":
        return local_time(row["at"])
    if name == "change":
        return ", ".join(
            f"{field}: {_shown(field, before)} -> {_shown(field, after)}"
            for field, (before, after) in row["change"].items()
        )
    return row[name]


def _shown(field: str, value: Any) -> str:
    if value is None or value == "":
        return "none"
    if field in _TIMES and isinstance(value, int):
        return local_time(value)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
