"""Sessions end with their key, rows of the audit with the years; both outlive a restart."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest

from gateway.keys.changes import Actor, ConfigNames, KeyChange, NewKey
from gateway.keys.errors import InvalidValue
from gateway.keys.manager import DAY_MS, KeyManager
from gateway.keys.records import KeyRecord
from tests.unit.keys.conftest import ROOT, StoreClock
from tests.unit.keys.support import NOON

HOUR_MS = 3_600_000


@pytest.fixture
def admin(manager: KeyManager) -> KeyRecord:
    return manager.add_key(ROOT, NewKey(name="lead", kind="admin", role="admin")).record


def begin(manager: KeyManager, admin: KeyRecord) -> str:
    actor = Actor(admin.name, "192.0.2.7", "req-1", admin.id)
    return manager.add_session(actor, "admin", "firefox")


def test_a_session_is_found_again_also_after_a_restart(
    manager: KeyManager, open_manager: Callable[[], KeyManager], admin: KeyRecord
) -> None:
    text = begin(manager, admin)
    assert len(text) >= 43
    manager.close()
    found = open_manager().find_session(text)
    assert found is not None
    assert (found.key_id, found.key_name, found.role) == (admin.id, "lead", "admin")
    assert (found.made_at, found.agent) == (NOON, "firefox")
    for wrong in ("", text[:-1], text + "a", "\udc80"):
        assert manager.find_session(wrong) is None


def test_a_session_has_the_name_and_the_role_that_its_key_has_now(
    manager: KeyManager, admin: KeyRecord
) -> None:
    text = begin(manager, admin)
    manager.change_key(ROOT, admin.id, KeyChange(name="boss", role="viewer"))
    found = manager.find_session(text)
    assert found is not None
    assert (found.key_name, found.role) == ("boss", "viewer")


@pytest.mark.parametrize(
    "end",
    [
        lambda manager, key_id: manager.block_key(ROOT, key_id),
        lambda manager, key_id: manager.delete_key(ROOT, key_id),
        lambda manager, key_id: manager.forget_key(ROOT, key_id),
        lambda manager, key_id: manager.rotate_key(ROOT, key_id, 0),
    ],
)
def test_a_session_ends_with_its_key(manager: KeyManager, admin: KeyRecord, end: Any) -> None:
    other = manager.add_key(ROOT, NewKey(name="other", kind="admin", role="viewer")).record
    text, others = begin(manager, admin), begin(manager, other)
    end(manager, admin.id)
    assert manager.find_session(text) is None
    assert manager.find_session(others) is not None


def test_a_session_does_not_come_back_when_its_key_is_unblocked(
    manager: KeyManager, admin: KeyRecord
) -> None:
    text = begin(manager, admin)
    manager.block_key(ROOT, admin.id)
    manager.unblock_key(ROOT, admin.id)
    assert manager.find_session(text) is None


def test_a_rotation_with_grace_keeps_the_session(manager: KeyManager, admin: KeyRecord) -> None:
    text = begin(manager, admin)
    manager.rotate_key(ROOT, admin.id)
    assert manager.find_session(text) is not None


def test_a_session_ends_when_its_key_expires(
    manager: KeyManager, clock: StoreClock, admin: KeyRecord
) -> None:
    manager.change_key(ROOT, admin.id, KeyChange(expires_at=NOON + HOUR_MS))
    text = begin(manager, admin)
    assert manager.find_session(text) is not None
    clock.now += HOUR_MS
    assert manager.find_session(text) is None


def test_a_session_of_a_key_of_the_configuration_ends_when_that_is_gone(
    manager: KeyManager,
) -> None:
    manager.configure(UTC, ConfigNames(admin_keys=frozenset({"root"})))
    text = manager.add_session(Actor("root"), "viewer")
    found = manager.find_session(text)
    assert found is not None
    assert (found.key_id, found.key_name, found.role) == ("", "root", "viewer")
    manager.configure(UTC, ConfigNames())
    assert manager.find_session(text) is None


def test_a_session_that_nobody_uses_ends_after_eight_hours(
    manager: KeyManager, clock: StoreClock, admin: KeyRecord
) -> None:
    used, left, watched = (begin(manager, admin) for _ in range(3))
    for _ in range(4):
        clock.now += 7 * HOUR_MS
        assert manager.find_session(used) is not None
        found = manager.find_session(watched, renew=False)
        assert (found is None) == (clock.now > NOON + 7 * HOUR_MS)
    assert manager.find_session(left) is None


def test_no_session_lasts_longer_than_a_week(
    manager: KeyManager, clock: StoreClock, admin: KeyRecord
) -> None:
    text = begin(manager, admin)
    for _ in range(7 * 24 // 7 - 1):
        clock.now += 7 * HOUR_MS
        assert manager.find_session(text) is not None
    clock.now = NOON + 7 * DAY_MS
    assert manager.find_session(text) is None


def test_a_session_that_was_ended_is_over(manager: KeyManager, admin: KeyRecord) -> None:
    text, other = begin(manager, admin), begin(manager, admin)
    manager.end_session(ROOT, text)
    manager.end_session(ROOT, text)
    manager.end_session(ROOT, "unknown")
    assert manager.find_session(text) is None
    assert manager.find_session(other) is not None
    actions = [one.action for one in manager.audit().rows]
    assert actions[:3] == ["session.end", "session.add", "session.add"]


def test_sessions_change_no_version_of_the_table(manager: KeyManager, admin: KeyRecord) -> None:
    version = manager.table().version
    text = begin(manager, admin)
    manager.end_session(ROOT, text)
    manager.record(ROOT, "account.pause", "a1", "a1", {"seconds": (None, 60)})
    assert manager.table().version == version
    row = manager.audit().rows[0]
    assert (row.action, row.object, row.object_id) == ("account.pause", "account", "a1")
    assert row.change == {"seconds": (None, 60)}


def test_rows_of_the_audit_are_kept_as_long_as_the_configuration_says(
    manager: KeyManager, clock: StoreClock
) -> None:
    manager.configure(UTC, ConfigNames(), audit_days=365)
    manager.configure(UTC, ConfigNames())  # of whom does not say
    manager.record(ROOT, "account.pause", "a", "a")
    clock.now += 365 * DAY_MS
    manager.record(ROOT, "account.pause", "b", "b")
    assert [one.object_id for one in manager.audit().rows] == ["b", "a"]
    clock.now += 1
    manager.record(ROOT, "account.pause", "c", "c")
    assert [one.object_id for one in manager.audit().rows] == ["c", "b"]
    manager.configure(UTC, ConfigNames(), audit_days=1)
    clock.now += DAY_MS
    manager.record(ROOT, "account.pause", "d", "d")
    assert [one.object_id for one in manager.audit().rows] == ["d", "c"]


def test_a_caller_that_does_not_say_how_long_rows_are_kept_deletes_none(
    manager: KeyManager, clock: StoreClock
) -> None:
    manager.record(ROOT, "account.pause", "a", "a")
    clock.now += 4000 * DAY_MS
    manager.record(ROOT, "account.pause", "b", "b")
    assert [one.object_id for one in manager.audit().rows] == ["b", "a"]


def test_a_cursor_of_somewhere_else_is_refused(manager: KeyManager) -> None:
    for cursor in ("", "x", "-1", "9" * 30, "1.5", "²"):
        with pytest.raises(InvalidValue):
            manager.audit(cursor=cursor)
