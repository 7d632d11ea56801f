"""Checks what is asked for, and makes the records that follow from it. Nothing is stored here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, tzinfo
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from gateway.keys.changes import (
    MOST_TEXT,
    Actor,
    KeyChange,
    LimitValues,
    NewGrant,
    NewKey,
    NewTeam,
    TeamChange,
)
from gateway.keys.errors import InvalidValue, VersionConflict
from gateway.keys.names import name_fault
from gateway.keys.records import GrantRecord, KeyRecord, SecretRecord, TeamRecord
from gateway.limits.names import ROUTE_NAMES
from gateway.limits.periods import local_day

_Request = TypeVar("_Request", NewKey, KeyChange, NewTeam, TeamChange, NewGrant)

_Record = TypeVar("_Record", KeyRecord, TeamRecord)

# In the texts of msgspec: "Expected `int` >= 0 - at `$.limits.tokens_per_day`".
_PLACE: Final = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_LONGEST_GRACE: Final = 30 * 24 * 3_600_000
_ONLY_API: Final = ("team", "models", "routes", "limits")


def checked(request: _Request) -> _Request:
    """Return a request, if all its values can be stored. Raises InvalidValue."""
    try:
        # Decoding from bytes has checked types and bounds already; other callers have not.
        request = msgspec.convert(msgspec.to_builtins(request), type(request))
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.fullmatch(text)
        raise InvalidValue(place[1] if place else text, param=place and place[2]) from None
    name = getattr(request, "name", UNSET)
    if name is not UNSET and (fault := name_fault(name)):
        raise InvalidValue(f"The name {fault}.", param="name")
    for field in ("note", "reason"):
        check_text(getattr(request, field, None), field)
    for field in ("models", "routes"):
        for item in getattr(request, field, None) or ():
            if not item.isprintable():
                raise InvalidValue(f"{field} has a character that is not printable.", param=field)
    for item in getattr(request, "routes", None) or ():
        if item not in ROUTE_NAMES:
            known = ", ".join(ROUTE_NAMES)
            raise InvalidValue(f"There is no such route; known: {known}.", param="routes")
    return request


def check_text(text: str | UnsetType | None, field: str) -> None:
    """Check a text that people write for people. Raises InvalidValue."""
    if not text:
        return
    if len(text) > MOST_TEXT:
        raise InvalidValue(f"{field} has more than {MOST_TEXT} characters.", param=field)
    if not all(one.isprintable() or one in "\n\t" for one in text):
        raise InvalidValue(f"{field} has a character that is not printable.", param=field)


def new_key(
    new: NewKey, key_id: str, secret: SecretRecord, team_id: str | None, *, by: Actor, now: int
) -> KeyRecord:
    """Return the record of a new key. Raises InvalidValue if its fields do not fit its kind."""
    if new.kind == "admin":
        if new.role is None:
            raise InvalidValue("An admin key needs a role.", param="role")
        for field in _ONLY_API:
            if getattr(new, field) not in (None, LimitValues()):
                raise InvalidValue(f"An admin key has no {field}.", param=field)
    elif new.role is not None:
        raise InvalidValue("Only an admin key has a role.", param="role")
    _check_to_come(new.expires_at, now)
    return KeyRecord(
        id=key_id,
        kind=new.kind,
        name=new.name,
        version=1,
        created_at=now,
        created_by=by.name,
        role=new.role,
        team_id=team_id,
        models=_distinct(new.models),
        routes=_distinct(new.routes),
        limits=_limits({}, new.limits),
        note=new.note,
        expires_at=new.expires_at,
        secrets=(secret,),
    )


def changed_key(
    record: KeyRecord, change: KeyChange, team_id: str | None, *, now: int
) -> KeyRecord:
    """Return a record after a change. team_id: of the team that the change names.

    Raises InvalidValue if the fields do not fit the kind of the key.
    """
    given = {
        name: value
        for name in KeyChange.__struct_fields__
        if (value := getattr(change, name)) is not UNSET
    }
    for field in given:
        if record.kind == "admin" and field in _ONLY_API:
            raise InvalidValue(f"An admin key has no {field}.", param=field)
        if record.kind == "api" and field == "role":
            raise InvalidValue("Only an admin key has a role.", param="role")
    if given.get("expires_at") != record.expires_at:
        _check_to_come(given.get("expires_at"), now)
    if "team" in given:
        del given["team"]
        given["team_id"] = team_id
    for field in ("models", "routes"):
        if field in given:
            given[field] = _distinct(given[field])
    return msgspec.structs.replace(
        record, version=record.version + 1, **_with_texts(given, record.limits)
    )


def new_team(new: NewTeam, team_id: str, *, now: int) -> TeamRecord:
    """Return the record of a new team."""
    return TeamRecord(
        id=team_id,
        name=new.name,
        version=1,
        created_at=now,
        limits=_limits({}, new.limits),
        note=new.note,
    )


def changed_team(record: TeamRecord, change: TeamChange) -> TeamRecord:
    """Return a record after a change."""
    given = {
        name: value
        for name in TeamChange.__struct_fields__
        if (value := getattr(change, name)) is not UNSET
    }
    return msgspec.structs.replace(
        record, version=record.version + 1, **_with_texts(given, record.limits)
    )


def new_grant(new: NewGrant, grant_id: str, zone: tzinfo, *, by: Actor, now: int) -> GrantRecord:
    """Return the record of a grant. Raises InvalidValue for a period that is over or no period."""
    daily = new.limit.endswith("_per_day")
    today = local_day(now / 1000, zone)
    current = today if daily else today[:7]
    period = current if new.period is None else new.period
    if not _is_period(period, daily=daily):
        form = "a day such as 2026-11-29" if daily else "a month such as 2026-11"
        raise InvalidValue(f"{new.limit} needs {form} as its period.", param="period")
    if period < current:
        raise InvalidValue(f"{period} is over; it is {current} now.", param="period")
    return GrantRecord(
        id=grant_id,
        scope=new.scope,
        scope_id=new.scope_id,
        period=period,
        limit=new.limit,
        amount=new.amount,
        at=now,
        by=by.name,
        reason=new.reason,
    )


def expected(record: _Record, version: int | None) -> _Record:
    """Return a record if it has the version that the caller has seen, or the caller does not care.

    Raises VersionConflict.
    """
    if version is not None and version != record.version:
        raise VersionConflict(
            f"It has version {record.version} now, not {version}: somebody else has changed it. "
            "Read it again."
        )
    return record


def end_of_grace(now: int, grace_ms: int) -> int:
    """Return when a former secret ends. Raises InvalidValue for more than 30 days."""
    if not 0 <= grace_ms <= _LONGEST_GRACE:
        raise InvalidValue("The grace must be 0 to 30 days.", param="grace_ms")
    return now + grace_ms


def _is_period(text: str, *, daily: bool) -> bool:
    try:
        parsed = date.fromisoformat(text if daily else f"{text}-01")
    except ValueError:
        return False
    return parsed.isoformat() == (text if daily else f"{text}-01")


def _check_to_come(expires_at: int | None, now: int) -> None:
    if expires_at is not None and expires_at <= now:
        raise InvalidValue("expires_at must be a time to come.", param="expires_at")


def _distinct(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(dict.fromkeys(names))


def _with_texts(given: dict[str, Any], limits: Mapping[str, int]) -> dict[str, Any]:
    """Return fields for a record: what None clears is an empty text, or no limits."""
    if "note" in given:
        given["note"] = given["note"] or ""
    if "limits" in given:
        given["limits"] = _limits(limits, given["limits"])
    return given


def _limits(limits: Mapping[str, int], values: LimitValues | None) -> dict[str, int]:
    merged: dict[str, int | None] = {} if values is None else {**limits, **values.given()}
    return {name: value for name, value in merged.items() if value is not None}
