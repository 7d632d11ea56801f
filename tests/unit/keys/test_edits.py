"""Values are checked whatever they come from; a record follows from what was asked for."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.keys import edits
from gateway.keys.changes import Actor, KeyChange, LimitValues, NewGrant, NewKey, TeamChange
from gateway.keys.errors import InvalidValue, VersionConflict
from gateway.keys.records import SecretRecord
from tests.unit.keys.support import NOON, key, team

BY = Actor("local:root")
SECRET = SecretRecord(b"\x00" * 32, "abcd", NOON)


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (NewKey(name="a" * 65), "name"),
        (NewKey(name=" a"), "name"),
        (NewKey(name="a\u202eb"), "name"),
        (NewKey(name="a\nb"), "name"),
        (NewKey(name="\udc80"), "name"),
        (NewKey(name="a", limits=LimitValues(tokens_per_day=-1)), "limits.tokens_per_day"),
        (NewKey(name="a", limits=LimitValues(concurrency=10**6)), "limits.concurrency"),
        (NewKey(name="a", note="\x1b[31m"), "note"),
        (NewKey(name="a", note="a" * 1001), "note"),
        (NewKey(name="a", routes=["chat", "embeddings"]), "routes"),
        (NewKey(name="a", models=["a\nb"]), "models"),
        (NewKey(name="a", models=[""]), "models[0]"),
        (KeyChange(name=""), "name"),
        (TeamChange(note="\x07"), "note"),
        (NewGrant(scope="key", scope_id="a", limit="tokens_per_day", amount=0), "amount"),
        (
            NewGrant(scope="key", scope_id="a", limit="tokens_per_day", amount=1, reason="\x00"),
            "reason",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_place(request_: Any, param: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        edits.checked(request_)
    assert (refused.value.status, refused.value.code) == (400, "invalid_value")
    assert refused.value.param == param


@pytest.mark.parametrize("name", ["=cmd()", "a", "张伟", "🦊" * 64, "O'Neil; DROP TABLE key --"])
def test_any_printable_name_will_do(name: str) -> None:
    new = NewKey(name=name, note="one\n\ttwo", limits=LimitValues(tokens_per_day=0))
    assert edits.checked(new) == new


@pytest.mark.parametrize(
    ("new", "param"),
    [
        (NewKey(name="a", kind="admin"), "role"),
        (NewKey(name="a", role="admin"), "role"),
        (NewKey(name="a", kind="admin", role="viewer", team="web"), "team"),
        (NewKey(name="a", kind="admin", role="viewer", models=[]), "models"),
        (
            NewKey(name="a", kind="admin", role="viewer", limits=LimitValues(concurrency=1)),
            "limits",
        ),
        (NewKey(name="a", expires_at=NOON), "expires_at"),
    ],
)
def test_a_new_key_has_the_fields_of_its_kind(new: NewKey, param: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        edits.new_key(new, "a" * 12, SECRET, None, by=BY, now=NOON)
    assert refused.value.param == param


def test_a_change_keeps_what_is_absent_and_clears_what_is_none() -> None:
    before, _ = key(
        models=("m",),
        note="old",
        team_id="t",
        expires_at=NOON - 1,
        limits={"concurrency": 2, "tokens_per_day": 5},
    )
    limits = LimitValues(concurrency=None, tokens_per_month=7)
    change = KeyChange(limits=limits, note=None, models=None, expires_at=NOON - 1)
    after = edits.changed_key(before, change, None, now=NOON)
    assert after.limits == {"tokens_per_day": 5, "tokens_per_month": 7}
    assert (after.note, after.models, after.team_id, after.version) == ("", None, "t", 2)
    emptied = edits.changed_key(
        after, KeyChange(limits=None, team=None, models=["b", "a", "b"]), None, now=NOON
    )
    assert (emptied.limits, emptied.team_id, emptied.models) == ({}, None, ("b", "a"))
    web = team(limits={"concurrency": 1}, note="old")
    cleared = edits.changed_team(web, TeamChange(limits=None, note=None))
    assert (cleared.limits, cleared.note, cleared.version) == ({}, "", 2)


@pytest.mark.parametrize(
    ("kind", "change", "param"),
    [
        ("admin", KeyChange(team=None), "team"),
        ("admin", KeyChange(limits=LimitValues()), "limits"),
        ("api", KeyChange(role="viewer"), "role"),
        ("api", KeyChange(expires_at=NOON), "expires_at"),
    ],
)
def test_a_change_fits_the_kind_of_the_key(kind: Any, change: KeyChange, param: str) -> None:
    before, _ = key(kind=kind)
    with pytest.raises(InvalidValue) as refused:
        edits.changed_key(before, change, None, now=NOON)
    assert refused.value.param == param


def grant(limit: Any, period: str | None) -> NewGrant:
    return NewGrant(scope="key", scope_id="a" * 12, limit=limit, amount=3, period=period)


def test_a_grant_is_for_the_local_day_or_month_of_now_unless_it_says_so() -> None:
    evening = NOON + 36 * 3_600_000  # 2026-12-01 00:00 UTC
    for zone, day in (("UTC", "2026-12-01"), ("America/New_York", "2026-11-30")):
        for limit, period in (("tokens_per_day", day), ("requests_per_month", day[:7])):
            made = edits.new_grant(grant(limit, None), "g" * 12, ZoneInfo(zone), by=BY, now=evening)
            assert (made.period, made.by, made.at) == (period, "local:root", evening)


@pytest.mark.parametrize(
    ("limit", "period"),
    [
        ("tokens_per_day", "2026-11"),
        ("tokens_per_day", "2026-11-31"),
        ("tokens_per_day", "20261129"),
        ("tokens_per_day", "2026-11-28"),
        ("tokens_per_month", "2026-11-29"),
        ("tokens_per_month", "2026-13"),
        ("tokens_per_month", "2026-10"),
        ("tokens_per_month", ""),
    ],
)
def test_a_grant_needs_a_period_of_its_limit_that_is_not_over(limit: str, period: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        edits.new_grant(grant(limit, period), "g" * 12, ZoneInfo("UTC"), by=BY, now=NOON)
    assert refused.value.param == "period"


def test_a_grace_lasts_thirty_days_at_most() -> None:
    month = 30 * 86_400_000
    assert edits.end_of_grace(NOON, month) == NOON + month
    for grace in (-1, month + 1):
        with pytest.raises(InvalidValue):
            edits.end_of_grace(NOON, grace)


def test_a_version_is_compared_only_if_the_caller_has_one() -> None:
    record, _ = key()
    assert edits.expected(record, None) is record
    assert edits.expected(record, 1) is record
    with pytest.raises(VersionConflict, match="version 1 now, not 2"):
        edits.expected(record, 2)
