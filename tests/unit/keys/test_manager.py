"""A key is made, changed, rotated, blocked, deleted, forgotten: each wholly or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.errors import GatewayError, KeyBlocked, KeyExpired, Unauthorized
from gateway.keys.audit_log import AuditFilter
from gateway.keys.changes import (
    Actor,
    ConfigNames,
    KeyChange,
    LimitValues,
    NewGrant,
    NewKey,
    NewTeam,
)
from gateway.keys.directory import KeyDirectory
from gateway.keys.errors import ChangeConflict, InvalidValue, UnknownObject, VersionConflict
from gateway.keys.manager import DAY_MS, KeyManager
from gateway.keys.records import KeyRecord, TeamRecord
from gateway.ledger.batch import BatchWriter
from gateway.ledger.row import LostRows
from gateway.store.database import connect_writer
from tests.unit.keys.conftest import LEAD, ROOT, StoreClock
from tests.unit.keys.support import NOON
from tests.unit.ledger.support import row

Opener = Callable[[], KeyManager]


def identify(manager: KeyManager, text: str, kind: Any = "api", now: int = NOON) -> str:
    """The id of the key that a process with the newest table finds."""
    directory = KeyDirectory()
    directory.replace(manager.table())
    return directory.identify(text, kind, now).key_id


def refused(action: Callable[[], object]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        action()
    return caught.value


def text_of(issued: Any) -> str:
    assert issued.text is not None
    return str(issued.text)


def actions(manager: KeyManager) -> list[str]:
    return [one.action for one in reversed(manager.audit().rows)]


def test_a_new_key_works_and_its_record_says_what_was_asked_for(
    manager: KeyManager, web: TeamRecord
) -> None:
    limits = LimitValues(tokens_per_day=2_000_000, concurrency=0, chats_per_minute=None)
    new = NewKey(
        name="alice",
        team="web",
        models=["fitten-code"],
        routes=[],
        limits=limits,
        note="laptop",
        expires_at=NOON + DAY_MS,
    )
    issued = manager.add_key(LEAD, new)
    assert identify(manager, text_of(issued)) == issued.record.id
    stored = manager.find_key("alice")
    assert (stored.id, stored.version, stored.created_by) == (issued.record.id, 1, "lead")
    assert (stored.team_id, stored.models, stored.routes) == (web.id, ("fitten-code",), ())
    assert stored.limits == {"concurrency": 0, "tokens_per_day": 2_000_000}
    assert (stored.note, stored.expires_at) == ("laptop", NOON + DAY_MS)
    assert [secret.last4 for secret in stored.secrets] == [text_of(issued)[-4:]]
    assert text_of(issued) not in repr(issued)


def test_each_change_is_one_version_and_one_row_of_the_audit(
    manager: KeyManager, clock: StoreClock
) -> None:
    issued = manager.add_key(LEAD, NewKey(name="alice"))
    key_id = issued.record.id
    clock.now += 5
    changes: list[Callable[[], object]] = [
        lambda: manager.change_key(LEAD, key_id, KeyChange(note="x", name="al")),
        lambda: manager.rotate_key(LEAD, key_id),
        lambda: manager.block_key(LEAD, key_id, "lost laptop"),
        lambda: manager.unblock_key(LEAD, key_id),
        lambda: manager.delete_key(LEAD, key_id),
    ]
    for version, change in enumerate(changes, 2):
        change()
        assert manager.table().version == version
    page = manager.audit(AuditFilter(object_id=key_id))
    assert actions(manager) == [
        *("key.add", "key.change", "key.rotate", "key.block", "key.unblock", "key.delete")
    ]
    changed = page.rows[-2]
    assert (changed.actor, changed.actor_id, changed.address) == ("lead", LEAD.key_id, LEAD.address)
    assert (changed.at, changed.request_id, changed.object) == (NOON + 5, "req-1", "key")
    assert changed.change == {"name": ("alice", "al"), "note": (None, "x")}
    assert page.rows[2].change["blocked_reason"] == (None, "lost laptop")


def test_a_change_that_fails_leaves_nothing(manager: KeyManager, alice: KeyRecord) -> None:
    before = manager.table()
    wrong = KeyChange(note="kept?", team="nobody")
    assert refused(lambda: manager.change_key(ROOT, alice.id, wrong)).code == "invalid_value"
    assert refused(lambda: manager.add_key(ROOT, NewKey(name="alice"))).status == 409
    after = manager.table()
    assert (after.version, len(after.keys), after.keys[0].note) == (before.version, 1, "")
    assert actions(manager) == ["key.add"]


def test_a_change_of_nothing_is_none(manager: KeyManager, alice: KeyRecord) -> None:
    same = manager.change_key(ROOT, alice.id, KeyChange(name="alice", limits=LimitValues()))
    assert same.version == 1
    assert actions(manager) == ["key.add"]


def test_of_two_admins_who_change_one_key_the_second_is_told(
    open_manager: Opener, alice: KeyRecord
) -> None:
    first, second = open_manager(), open_manager()
    seen = second.find_key("alice").version
    first.change_key(ROOT, alice.id, KeyChange(note="first"), alice.version)
    for change in (
        lambda: second.change_key(ROOT, alice.id, KeyChange(note="second"), seen),
        lambda: second.rotate_key(ROOT, alice.id, version=seen),
        lambda: second.block_key(ROOT, alice.id, version=seen),
        lambda: second.unblock_key(ROOT, alice.id, version=seen),
        lambda: second.delete_key(ROOT, alice.id, version=seen),
    ):
        error = refused(change)
        assert isinstance(error, VersionConflict)
        assert (error.status, error.code) == (412, "version_conflict")
    assert first.find_key("alice").note == "first"
    assert second.change_key(ROOT, alice.id, KeyChange(note="second"), 2).version == 3


def test_a_block_and_a_deletion_work_at_once(manager: KeyManager) -> None:
    issued = manager.add_key(ROOT, NewKey(name="alice"))
    text, key_id = text_of(issued), issued.record.id
    manager.block_key(ROOT, key_id, "lost laptop")
    manager.block_key(ROOT, key_id)  # keeps the reason
    with pytest.raises(KeyBlocked, match="lost laptop"):
        identify(manager, text)
    manager.unblock_key(ROOT, key_id)
    assert identify(manager, text) == key_id
    manager.delete_key(ROOT, key_id)
    with pytest.raises(Unauthorized):
        identify(manager, text)
    assert isinstance(refused(lambda: manager.delete_key(ROOT, key_id)), UnknownObject)


def test_a_rotated_key_has_two_texts_until_the_grace_is_over(
    manager: KeyManager, clock: StoreClock
) -> None:
    issued = manager.add_key(ROOT, NewKey(name="alice"))
    clock.now += 1
    rotated = manager.rotate_key(ROOT, issued.record.id, 1000)
    assert (rotated.record.id, rotated.record.version) == (issued.record.id, 2)
    for text in (text_of(issued), text_of(rotated)):
        assert identify(manager, text, now=clock.now + 999) == issued.record.id
    with pytest.raises(KeyExpired):
        identify(manager, text_of(issued), now=clock.now + 1000)
    assert identify(manager, text_of(rotated), now=clock.now + 1000) == issued.record.id


def test_a_second_rotation_within_the_grace_ends_the_first_text(manager: KeyManager) -> None:
    first = manager.add_key(ROOT, NewKey(name="alice"))
    second = manager.rotate_key(ROOT, first.record.id)
    third = manager.rotate_key(ROOT, first.record.id)
    assert len(third.record.secrets) == 2
    with pytest.raises(Unauthorized):
        identify(manager, text_of(first))
    assert {identify(manager, text_of(one)) for one in (second, third)} == {first.record.id}


def test_a_rotation_without_grace_ends_every_former_text(manager: KeyManager) -> None:
    first = manager.add_key(ROOT, NewKey(name="alice"))
    second = manager.rotate_key(ROOT, first.record.id)
    third = manager.rotate_key(ROOT, first.record.id, 0)
    assert len(third.record.secrets) == 1
    for one in (first, second):
        with pytest.raises(Unauthorized):
            identify(manager, text_of(one))
    assert identify(manager, text_of(third)) == first.record.id


def test_a_rotation_whose_answer_was_lost_is_not_done_twice(
    manager: KeyManager, alice: KeyRecord, clock: StoreClock
) -> None:
    done = manager.rotate_key(ROOT, alice.id, idempotency_key="again", version=1)
    repeated = manager.rotate_key(ROOT, alice.id, idempotency_key="again", version=1)
    assert (repeated.text, repeated.already_issued) == (None, True)
    assert (repeated.record.id, repeated.record.version) == (alice.id, done.record.version)
    assert identify(manager, text_of(done)) == alice.id
    # Who has another name is somebody else; who asks for something else is told.
    assert manager.rotate_key(LEAD, alice.id, idempotency_key="again").text is not None
    error = refused(lambda: manager.rotate_key(ROOT, alice.id, 0, idempotency_key="again"))
    assert (error.status, error.code) == (409, "idempotency_conflict")
    clock.now += DAY_MS
    assert manager.rotate_key(ROOT, alice.id, idempotency_key="again").text is not None


def test_a_key_is_made_once_however_often_it_is_asked_for(open_manager: Opener) -> None:
    managers = [open_manager() for _ in range(4)]
    open_manager().table()  # makes the tables

    def add(manager: KeyManager) -> Any:
        return manager.add_key(ROOT, NewKey(name="alice"), idempotency_key="k")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(add, managers))
    assert sorted(answer.already_issued for answer in answers) == [False, True, True, True]
    assert len({answer.record.id for answer in answers}) == 1
    assert len(managers[0].table().keys) == 1
    managers[0].delete_key(ROOT, answers[0].record.id)
    assert isinstance(refused(lambda: add(managers[0])), UnknownObject)


def test_several_processes_lose_no_change_of_each_other(open_manager: Opener) -> None:
    managers = [open_manager() for _ in range(4)]

    def add(number: int) -> None:
        managers[number % 4].add_key(ROOT, NewKey(name=f"key {number}"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(24)))
    table = managers[0].table()
    assert (table.version, len(table.keys)) == (24, 24)
    assert len(managers[0].audit().rows) == 24


def test_a_name_is_taken_until_its_key_is_deleted(manager: KeyManager, alice: KeyRecord) -> None:
    error = refused(lambda: manager.add_key(ROOT, NewKey(name="alice")))
    assert (error.status, error.code, error.param) == (409, "name_taken", "name")
    manager.add_key(ROOT, NewKey(name="alice", kind="admin", role="viewer"))  # another kind
    bob = manager.add_key(ROOT, NewKey(name="bob")).record
    assert refused(lambda: manager.change_key(ROOT, bob.id, KeyChange(name="alice"))).status == 409
    manager.delete_key(ROOT, alice.id)
    again = manager.add_key(ROOT, NewKey(name="alice"))
    assert again.record.id != alice.id
    manager.delete_key(ROOT, again.record.id)
    manager.change_key(ROOT, bob.id, KeyChange(name="alice"))
    assert manager.find_key("alice").id == bob.id
    # Both of the former ones can still be found, to be forgotten.
    manager.delete_key(ROOT, bob.id)
    assert isinstance(refused(lambda: manager.find_key("alice")), UnknownObject)
    error = refused(lambda: manager.find_key("alice", deleted=True))
    assert isinstance(error, InvalidValue)
    assert alice.id in error.message
    assert manager.find_key(alice.id, deleted=True).name == "alice"


def test_keys_and_teams_of_the_configuration_are_left_alone(manager: KeyManager) -> None:
    names = ConfigNames(frozenset({"ci"}), frozenset({"boss"}), frozenset({"ops"}))
    manager.configure(UTC, names)
    for error in (
        refused(lambda: manager.find_key("ci")),
        refused(lambda: manager.find_key("boss", "admin")),
        refused(lambda: manager.find_team("ops")),
    ):
        assert (error.status, error.code) == (409, "managed_by_config")
        assert isinstance(error, ChangeConflict)
    for error in (
        refused(lambda: manager.add_key(ROOT, NewKey(name="ci"))),
        refused(lambda: manager.add_key(ROOT, NewKey(name="boss", kind="admin", role="admin"))),
        refused(lambda: manager.add_team(ROOT, NewTeam(name="ops"))),
    ):
        assert (error.status, error.code) == (409, "name_taken")
        assert "config.yaml" in error.message
    # A stored key whose name the file takes later can still be found, by its id and its name.
    manager.add_key(ROOT, NewKey(name="boss"))
    manager.configure(UTC, ConfigNames(frozenset({"boss"})))
    assert manager.find_key("boss").name == "boss"


def test_a_key_may_be_in_a_team_of_the_configuration_and_leave_it(
    manager: KeyManager, web: TeamRecord
) -> None:
    manager.configure(UTC, ConfigNames(teams=frozenset({"ops"})))
    alice = manager.add_key(ROOT, NewKey(name="alice", team="ops")).record
    bob = manager.add_key(ROOT, NewKey(name="bob", team="web")).record
    assert manager.table().config_teams == {alice.team_id: "ops"}
    assert alice.team_id is not None
    for name in ("ops", alice.team_id):
        change = KeyChange(team=name)
        assert manager.change_key(ROOT, bob.id, change).team_id == alice.team_id
        manager.change_key(ROOT, bob.id, KeyChange(team="web"))
    assert [one.name for one in manager.table().teams] == ["web"]
    manager.change_key(ROOT, alice.id, KeyChange(team=None))
    assert manager.table().config_teams == {}
    # It has the same id when a key comes again, since its rows in the ledger have that.
    moved = manager.change_key(ROOT, bob.id, KeyChange(team="ops"))
    assert moved.team_id == alice.team_id


def test_no_key_is_put_into_a_team_that_is_gone_from_the_configuration(
    manager: KeyManager,
) -> None:
    manager.configure(UTC, ConfigNames(teams=frozenset({"ops"})))
    alice = manager.add_key(ROOT, NewKey(name="alice", team="ops")).record
    manager.configure(UTC, ConfigNames())
    assert alice.team_id is not None
    for name in ("ops", alice.team_id):
        with pytest.raises(InvalidValue, match="no team of this name"):
            manager.add_key(ROOT, NewKey(name="bob", team=name))
    # The key stays as it is, and so does what else is changed of it.
    assert manager.change_key(ROOT, alice.id, KeyChange(note="x")).team_id == alice.team_id
    ops = manager.add_team(ROOT, NewTeam(name="ops"))
    assert manager.change_key(ROOT, alice.id, KeyChange(team="ops")).team_id == ops.id


def test_a_key_is_found_by_its_kind_only(manager: KeyManager, alice: KeyRecord) -> None:
    assert manager.find_key(alice.id).name == "alice"
    for name in ("alice", alice.id):
        with pytest.raises(UnknownObject, match="no admin key"):
            manager.find_key(name, "admin")
    for name in ("", "x" * 1000, "'; --"):
        with pytest.raises(UnknownObject):
            manager.find_key(name)


def test_no_text_of_a_key_is_stored(manager: KeyManager, path: Path) -> None:
    texts = []
    for new in (NewKey(name="alice"), NewKey(name="alice", kind="admin", role="admin")):
        kind = new.kind
        issued = manager.add_key(ROOT, new, idempotency_key=f"{kind}-1")
        key_id = issued.record.id
        texts += [text_of(issued)]
        texts += [text_of(manager.rotate_key(ROOT, key_id, idempotency_key=f"{kind}-2"))]
        manager.block_key(ROOT, key_id, "lost")
        manager.unblock_key(ROOT, key_id)
        texts += [text_of(manager.rotate_key(ROOT, key_id, 0))]
    secrets = [text[:-6].rpartition("-")[2] for text in texts]
    secrets += [manager.add_session(ROOT, "admin", "firefox")]
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert (path.parent / "team.db-wal").stat().st_size > 0
    assert b"lost" in raw  # the search finds what is there
    for secret in secrets:
        assert len(secret) >= 43
        assert secret[:14].encode() not in raw
        assert secret[-14:].encode() not in raw


NAME = "Alice Example-Person"


def test_a_forgotten_key_leaves_its_name_nowhere(
    manager: KeyManager, path: Path, clock: StoreClock
) -> None:
    issued = manager.add_key(ROOT, NewKey(name=f"{NAME} the 1st", note=f"{NAME}'s laptop"))
    key_id = issued.record.id
    manager.change_key(ROOT, key_id, KeyChange(name=NAME, note=f"{NAME}'s desktop"))
    manager.grant(
        ROOT,
        NewGrant(
            scope="key", scope_id=key_id, limit="tokens_per_day", amount=5, reason=f"for {NAME}"
        ),
    )
    manager.block_key(ROOT, key_id, f"{NAME} has left")
    other = manager.add_key(ROOT, NewKey(name="bob", note="stays")).record
    connection = connect_writer(path)
    lost = LostRows("2026-11-29", NAME, 2)
    BatchWriter(connection).write([("p", lost)], {}, now=clock.now)
    is_open = msgspec.json.encode({"line": "began", "id": "r", "key": NAME, "key_id": key_id})
    connection.execute("INSERT INTO began VALUES ('r', 'p', ?)", (is_open.decode(),))
    manager.forget_key(ROOT, key_id)
    assert NAME.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    (line,) = connection.execute("SELECT line FROM began").fetchone()
    assert msgspec.json.decode(line)["key"] == key_id
    found = connection.execute("SELECT name FROM key WHERE id = ?", (key_id,)).fetchall()
    assert found == [(key_id,)]
    assert connection.execute("SELECT key, count FROM lost").fetchall() == [(key_id, 2)]
    connection.close()
    page = manager.audit(AuditFilter(object_id=key_id))
    assert {one.object_name for one in page.rows} == {key_id}
    assert page.rows[0].action == "key.forget"
    assert [one.name for one in manager.table().keys] == ["bob"]
    assert manager.find_key(other.id).note == "stays"
    manager.add_key(ROOT, NewKey(name=NAME))


def test_a_forgotten_admin_key_is_an_id_in_what_it_did(manager: KeyManager, path: Path) -> None:
    lead = manager.add_key(ROOT, NewKey(name=NAME, kind="admin", role="admin")).record
    actor = Actor(NAME, "192.0.2.7", "req-1", lead.id)
    manager.add_session(actor, "admin")
    made = manager.add_key(actor, NewKey(name="bob")).record
    grant = NewGrant(scope="key", scope_id=made.id, limit="tokens_per_day", amount=5)
    manager.grant(actor, grant, idempotency_key="g")
    manager.delete_key(ROOT, lead.id)
    manager.forget_key(ROOT, lead.id)  # also after it was deleted
    assert NAME.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert manager.find_key("bob").created_by == lead.id
    assert manager.grants_of("key", made.id)[0].by == lead.id
    assert {one.actor for one in manager.audit().rows} == {"local:root", lead.id}
    error = refused(lambda: manager.forget_key(ROOT, "unknown"))
    assert isinstance(error, UnknownObject)


def test_rows_of_the_ledger_keep_the_key_that_was_deleted(
    manager: KeyManager, path: Path, alice: KeyRecord
) -> None:
    connection = connect_writer(path)
    writer = BatchWriter(connection)
    line = row(source="store", key="alice")
    writer.write([("p", line)], {}, now=NOON)
    assert connection.execute("SELECT key_id FROM request").fetchall() == [(alice.id,)]
    manager.delete_key(ROOT, alice.id)
    named = "SELECT name FROM request AS r JOIN key ON key.id = r.key_id"
    assert connection.execute(named).fetchall() == [("alice",)]
    connection.close()


def test_the_ledger_writes_between_changes(manager: KeyManager, path: Path) -> None:
    manager.table()
    ledger = connect_writer(path)
    writer = BatchWriter(ledger)
    for number in range(3):
        manager.add_key(ROOT, NewKey(name=f"key {number}"))
        writer.write([("p", row(key="alice"))], {}, now=NOON)
    with sqlite3.connect(path) as reader:
        counts = reader.execute("SELECT source, count(*) FROM key GROUP BY source ORDER BY source")
        assert counts.fetchall() == [("config", 1), ("store", 3)]
    reader.close()
    ledger.close()
    assert len(manager.table().keys) == 3
