"""Teams are made, changed and deleted, and limits are raised for a day or a month."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest

from gateway.errors import GatewayError, KeyBlocked
from gateway.keys.changes import (
    ConfigNames,
    KeyChange,
    LimitValues,
    NewGrant,
    NewKey,
    NewTeam,
    TeamChange,
)
from gateway.keys.directory import KeyDirectory
from gateway.keys.errors import InvalidValue
from gateway.keys.manager import KeyManager
from gateway.keys.records import KeyRecord, TeamRecord
from tests.unit.keys.conftest import LEAD, ROOT, StoreClock
from tests.unit.keys.support import DAY_MS, NOON


def refused(action: Callable[[], object]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        action()
    return caught.value


@pytest.fixture
def members(manager: KeyManager, web: TeamRecord) -> dict[str, str]:
    """Texts of keys in the team, by name."""
    made = {}
    for name in ("alice", "bob"):
        made[name] = str(manager.add_key(ROOT, NewKey(name=name, team=web.id)).text)
    manager.add_key(ROOT, NewKey(name="carol"))
    return made


def directory(manager: KeyManager) -> KeyDirectory:
    made = KeyDirectory()
    made.replace(manager.table())
    return made


def test_a_team_is_changed_by_one_admin_at_a_time(manager: KeyManager, web: TeamRecord) -> None:
    change = TeamChange(name="site", limits=LimitValues(concurrency=None, tokens_per_day=5))
    after = manager.change_team(LEAD, web.id, change, 1)
    assert (after.name, after.version, after.limits) == ("site", 2, {"tokens_per_day": 5})
    for late in (
        lambda: manager.change_team(ROOT, web.id, TeamChange(note="x"), 1),
        lambda: manager.block_team(ROOT, web.id, 1),
        lambda: manager.unblock_team(ROOT, web.id, 1),
        lambda: manager.delete_team(ROOT, web.id, version=1),
    ):
        assert refused(late).status == 412
    assert manager.find_team("site").id == manager.find_team(web.id).id
    row = manager.audit().rows[0]
    assert (row.action, row.change["name"]) == ("team.change", ("web", "site"))
    other = manager.add_team(ROOT, NewTeam(name="web"))
    error = refused(lambda: manager.change_team(ROOT, other.id, TeamChange(name="site")))
    assert (error.status, error.code) == (409, "name_taken")


def test_a_blocked_team_blocks_its_keys(manager: KeyManager, members: dict[str, str]) -> None:
    web = manager.find_team("web")
    assert manager.block_team(ROOT, web.id).blocked_at == NOON
    with pytest.raises(KeyBlocked, match="web"):
        directory(manager).identify(members["alice"], "api", NOON)
    manager.unblock_team(ROOT, web.id)
    directory(manager).identify(members["alice"], "api", NOON)


def test_a_team_with_keys_is_not_deleted_by_accident(
    manager: KeyManager, web: TeamRecord, members: dict[str, str]
) -> None:
    error = refused(lambda: manager.delete_team(ROOT, web.id))
    assert (error.status, error.code) == (409, "team_has_keys")
    assert "2 keys" in error.message
    for keys in ("", "delete", "move:", "move:nobody", "move:web", f"move:{web.id}"):
        with pytest.raises(InvalidValue):
            manager.delete_team(ROOT, web.id, keys)
    assert manager.find_team("web").id == web.id


def test_a_team_that_is_deleted_revokes_all_its_keys_at_once(
    manager: KeyManager, web: TeamRecord, members: dict[str, str]
) -> None:
    version = manager.table().version
    manager.delete_team(ROOT, web.id, "block")
    assert manager.table().version == version + 1
    keys = directory(manager)
    for text in members.values():
        with pytest.raises(KeyBlocked, match="team was deleted"):
            keys.identify(text, "api", NOON)
    assert manager.find_key("alice").team_id is None
    assert manager.find_key("carol").blocked_at is None
    assert refused(lambda: manager.find_team("web")).status == 404
    manager.add_team(ROOT, NewTeam(name="web"))


def test_keys_of_a_deleted_team_may_move_to_another(
    manager: KeyManager, web: TeamRecord, members: dict[str, str]
) -> None:
    ops = manager.add_team(ROOT, NewTeam(name="ops"))
    manager.delete_team(ROOT, web.id, "move:ops")
    assert directory(manager).identify(members["bob"], "api", NOON).team == "ops"
    assert manager.find_key("alice").team_id == ops.id
    assert [one.name for one in manager.table().teams] == ["ops"]


def test_a_team_of_the_configuration_is_changed_in_that_file_only(
    manager: KeyManager, members: dict[str, str]
) -> None:
    manager.configure(UTC, ConfigNames(teams=frozenset({"ops"})))
    manager.delete_team(ROOT, manager.find_team("web").id, "move:ops")
    before = manager.table()
    ops = manager.find_key("alice").team_id
    assert ops is not None
    assert before.config_teams == {ops: "ops"}
    new = NewGrant(scope="team", scope_id=ops, limit="tokens_per_day", amount=5)
    for error in (
        refused(lambda: manager.find_team("ops")),
        refused(lambda: manager.find_team(ops)),
        refused(lambda: manager.change_team(ROOT, ops, TeamChange(note="x"))),
        refused(lambda: manager.block_team(ROOT, ops)),
        refused(lambda: manager.unblock_team(ROOT, ops)),
        refused(lambda: manager.delete_team(ROOT, ops, "block")),
        refused(lambda: manager.forget_team(ROOT, ops, "block")),
        refused(lambda: manager.grant(ROOT, new)),
    ):
        assert (error.status, error.code) == (409, "managed_by_config")
        assert error.message.startswith("Team 'ops' belongs to config.yaml")
    assert manager.table().version == before.version


def test_a_forgotten_team_leaves_its_name_nowhere(manager: KeyManager, path: Any) -> None:
    name = "Team of Example-Person"
    team = manager.add_team(ROOT, NewTeam(name=name, note=f"{name}!"))
    grant = NewGrant(
        scope="team", scope_id=team.id, limit="tokens_per_month", amount=5, reason=name
    )
    manager.grant(ROOT, grant)
    manager.forget_team(ROOT, team.id)
    assert name.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert {one.object_name for one in manager.audit().rows} == {team.id}


def test_a_team_is_made_once_however_often_it_is_asked_for(manager: KeyManager) -> None:
    new = NewTeam(name="web")
    first = manager.add_team(ROOT, new, idempotency_key="k")
    assert manager.add_team(ROOT, new, idempotency_key="k").id == first.id
    assert len(manager.table().teams) == 1


def grant(of: KeyRecord | TeamRecord, **fields: Any) -> NewGrant:
    usual: dict[str, Any] = {
        "scope": "key" if isinstance(of, KeyRecord) else "team",
        "scope_id": of.id,
        "limit": "tokens_per_day",
        "amount": 500,
        "reason": "release",
    }
    return NewGrant(**usual | fields)


def test_a_grant_raises_a_limit_until_its_period_is_over(
    manager: KeyManager, clock: StoreClock, web: TeamRecord
) -> None:
    new = NewKey(name="alice", team="web", limits=LimitValues(tokens_per_day=1000))
    issued = manager.add_key(ROOT, new)
    manager.grant(LEAD, grant(issued.record))
    made = manager.grant(LEAD, grant(issued.record, amount=1))
    manager.grant(LEAD, grant(web, limit="requests_per_month"))
    assert (made.period, made.by, made.reason) == ("2026-11-29", "lead", "release")
    text = str(issued.text)
    assert directory(manager).identify(text, "api", NOON).limits == {"tokens_per_day": 1501}
    after = directory(manager).identify(text, "api", NOON + DAY_MS)
    assert after.limits == {"tokens_per_day": 1000}
    row = manager.audit().rows[1]
    assert (row.action, row.object_name) == ("key.grant", "alice")
    assert row.change == {"tokens_per_day 2026-11-29": (None, 1), "reason": (None, "release")}
    # Former ones are kept, but not sent to every process for ever.
    clock.now += 3 * DAY_MS
    assert [one.period for one in manager.table().grants] == ["2026-11"]
    assert len(manager.grants_of("key", issued.record.id)) == 2
    clock.now += 30 * DAY_MS
    assert manager.table().grants == ()


def test_a_grant_stays_as_it_is_whatever_happens_to_its_key(
    manager: KeyManager, alice: KeyRecord
) -> None:
    made = manager.grant(ROOT, grant(alice))
    manager.change_key(ROOT, alice.id, KeyChange(limits=LimitValues(tokens_per_day=1)))
    manager.rotate_key(ROOT, alice.id, 0)
    manager.delete_key(ROOT, alice.id)
    (kept,) = manager.grants_of("key", alice.id)
    assert (kept.id, kept.amount, kept.period, kept.at) == (made.id, 500, made.period, NOON)
    offered = {name for name in dir(manager) if "grant" in name and not name.startswith("_")}
    assert offered == {"grant", "grants_of"}


def test_a_grant_that_is_repeated_counts_once(manager: KeyManager, alice: KeyRecord) -> None:
    first = manager.grant(ROOT, grant(alice), idempotency_key="g")
    assert manager.grant(ROOT, grant(alice), idempotency_key="g").id == first.id
    assert len(manager.table().grants) == 1
    error = refused(lambda: manager.grant(ROOT, grant(alice, amount=1), idempotency_key="g"))
    assert error.code == "idempotency_conflict"


def test_only_what_has_limits_can_get_a_grant(manager: KeyManager, alice: KeyRecord) -> None:
    admin = manager.add_key(ROOT, NewKey(name="lead", kind="admin", role="viewer")).record
    assert refused(lambda: manager.grant(ROOT, grant(admin))).status == 400
    unknown = grant(alice, scope_id="unknown")
    assert refused(lambda: manager.grant(ROOT, unknown)).status == 404
    assert refused(lambda: manager.grant(ROOT, grant(alice, scope="team"))).status == 404
