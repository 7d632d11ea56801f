"""What is stored is what is read; a change needs the version before it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.keys.errors import VersionConflict
from gateway.keys.key_store import KeyStore
from gateway.keys.records import GrantRecord, KeyRecord, KeyTable, SecretRecord, TeamRecord
from gateway.limits.names import LIMIT_NAMES, ROUTE_NAMES
from gateway.store.database import connect_writer, transaction
from gateway.store.ids import new_id
from gateway.store.migrations import migrate
from tests.unit.keys.support import DAY_MS, NOON, grant, key, team


@contextlib.contextmanager
def stored(path: Path) -> Iterator[tuple[sqlite3.Connection, KeyStore]]:
    with contextlib.closing(connect_writer(path)) as connection:
        migrate(connection, path, now=NOON)
        yield connection, KeyStore(connection)


LIMITS = st.dictionaries(st.sampled_from(LIMIT_NAMES), st.integers(0, 10**15))
TIMES = st.none() | st.integers(0, 10**13)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
SECRETS = st.lists(
    st.builds(SecretRecord, st.binary(min_size=32, max_size=32), TEXTS, st.integers(0, 99), TIMES),
    max_size=2,
    unique_by=lambda secret: secret.sha256,
)
KEYS = st.builds(
    KeyRecord,
    id=st.builds(new_id),
    kind=st.sampled_from(["api", "admin"]),
    name=TEXTS,
    version=st.integers(1, 10**6),
    created_at=st.integers(0, 10**13),
    created_by=TEXTS,
    role=st.sampled_from([None, "admin", "viewer", "metrics"]),
    team_id=st.none() | st.builds(new_id),
    models=st.none() | st.lists(TEXTS, max_size=3).map(tuple),
    routes=st.none() | st.lists(st.sampled_from(ROUTE_NAMES)).map(tuple),
    limits=LIMITS,
    note=TEXTS,
    expires_at=TIMES,
    blocked_at=TIMES,
    blocked_reason=TEXTS,
    secrets=SECRETS.map(tuple),
)
TEAMS = st.builds(
    TeamRecord,
    id=st.builds(new_id),
    name=TEXTS,
    version=st.integers(1, 10**6),
    created_at=st.integers(0, 10**13),
    limits=LIMITS,
    note=TEXTS,
    blocked_at=TIMES,
)


def builtins(record: KeyRecord | TeamRecord | GrantRecord | KeyTable | None) -> object:
    found = msgspec.to_builtins(record)
    if isinstance(record, KeyRecord):  # the order of secrets means nothing
        found["secrets"] = sorted(found["secrets"], key=lambda secret: secret["sha256"])
    return found


@given(KEYS, TEAMS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_is_read_as_it_was_stored(path: Path, one: KeyRecord, other: TeamRecord) -> None:
    path.unlink(missing_ok=True)
    with stored(path) as (_, store):
        store.insert_key(one, "")
        store.insert_team(other)
        assert builtins(store.key(one.id)) == builtins(one)
        assert builtins(store.key_named(one.name, one.kind)) == builtins(one)
        assert builtins(store.team(other.id)) == builtins(other)
        changed = msgspec.structs.replace(one, version=one.version + 1, note="x", limits={})
        store.update_key(changed)
        assert builtins(store.key(one.id)) == builtins(changed)


def test_the_table_has_what_is_not_deleted_and_the_grants_of_now(path: Path) -> None:
    alice, _ = key("alice")
    bob, _ = key("bob")
    web, ops = team("web"), team("ops")
    with stored(path) as (connection, store):
        for one in (alice, bob):
            store.insert_key(one, "")
        for other in (web, ops):
            store.insert_team(other)
        periods = ("2026-11-26", "2026-11-27", "2026-12-24", "2026-10", "2026-11", "2027-01")
        for period in periods:
            store.insert_grant(grant(alice, "tokens_per_day", 5, period), "")
        with transaction(connection):
            store.delete_key(bob.id, NOON)
            store.delete_team(ops.id, NOON)
            store.raise_table_version()
        found = store.table(NOON)
        assert found.version == store.table_version() == 1
        assert [one.id for one in found.keys] == [alice.id]
        assert [other.id for other in found.teams] == [web.id]
        assert {one.period for one in found.grants} == {
            *("2026-11-27", "2026-12-24", "2026-11", "2027-01")
        }
        assert not connection.in_transaction
        assert connection.execute("SELECT DISTINCT key_id FROM key_secret").fetchall() == [
            (alice.id,)
        ]


def test_names_that_the_ledger_knows_are_no_keys(path: Path) -> None:
    with stored(path) as (connection, store):
        connection.execute(
            "INSERT INTO key (id, kind, source, name, created_at) VALUES ('a', 'api', 'config',"
            " 'alice', 1)"
        )
        connection.execute("INSERT INTO team (id, name, created_at) VALUES ('t', 'web', 1)")
        assert (store.table(NOON).keys, store.table(NOON).teams) == ((), ())
        assert store.key("a") is None
        assert store.key_named("alice", "api") is None
        assert store.team_named("web") is None
        assert store.team("t") is None
        # A key can be in such a team, which then has the id that its rows have.
        assert (store.config_team("t"), store.config_team("a")) == ("web", None)
        assert store.config_team_id("web", NOON) == "t"
        ops = store.config_team_id("ops", NOON)
        assert ops == store.config_team_id("ops", NOON + 1)
        assert store.table(NOON).config_teams == {}
        alice, _ = key("alice")
        store.insert_key(alice, "")
        store.insert_team(team("web"))
        bob, _ = key("bob", team_id=ops)
        store.insert_key(bob, "")
        assert store.table(NOON).config_teams == {ops: "ops"}
        store.delete_key(bob.id, NOON)
        assert store.table(NOON).config_teams == {}


def test_a_change_needs_the_version_before_it(path: Path) -> None:
    alice, _ = key("alice")
    web = team("web")
    with stored(path) as (_, store):
        store.insert_key(alice, "")
        store.insert_team(web)
        for version in (1, 3):
            with pytest.raises(VersionConflict):
                store.update_key(msgspec.structs.replace(alice, version=version))
            with pytest.raises(VersionConflict):
                store.update_team(msgspec.structs.replace(web, version=version))
        store.update_team(msgspec.structs.replace(web, version=2, blocked_at=NOON))
        found = store.team(web.id)
        assert found is not None
        assert found.blocked_at == NOON


def test_two_keys_never_share_a_text(path: Path) -> None:
    alice, _ = key("alice")
    twin = msgspec.structs.replace(alice, id=new_id(), name="twin")
    with stored(path) as (_, store):
        store.insert_key(alice, "")
        with pytest.raises(sqlite3.IntegrityError):
            store.insert_key(twin, "")


def test_former_grants_are_found_by_their_key(path: Path) -> None:
    alice, _ = key("alice")
    with stored(path) as (_, store):
        old = grant(alice, "tokens_per_day", 5, "2020-01-01")
        store.insert_grant(old, "")
        assert store.table(NOON + DAY_MS).grants == ()
        (found,) = store.grants_of("key", alice.id)
        assert builtins(found) == builtins(old) == builtins(store.grant(old.id))
        assert store.grant("unknown") is None
        assert store.grants_of("team", alice.id) == ()
