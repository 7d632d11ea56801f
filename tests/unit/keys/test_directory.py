"""A key is who it says while its record says so, and each answer is of the newest table."""

from __future__ import annotations

from functools import partial
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.errors import GatewayError, KeyBlocked, KeyExpired, Unauthorized
from gateway.keys.directory import KeyDirectory
from gateway.keys.key_text import new_key_text
from gateway.keys.records import KeyTable
from tests.counting import calls_of
from tests.unit.keys.support import DAY_MS, NOON, grant, key, secret, table, team


def directory(records: KeyTable) -> KeyDirectory:
    made = KeyDirectory()
    assert made.replace(records)
    return made


def refusal(keys: KeyDirectory, text: str, now: int = NOON) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        keys.identify(text, "api", now)
    return refused.value


def test_a_key_of_the_table_is_known_by_its_id() -> None:
    web = team(limits={"concurrency": 9})
    alice, text = key(team_id=web.id, models=("m",), routes=("chat",), limits={"concurrency": 2})
    principal = directory(table(alice, teams=(web,))).identify(text, "api", NOON)
    assert (principal.id, principal.key_id, principal.name) == (alice.id, alice.id, "alice")
    assert (principal.team, principal.team_id, principal.source) == ("web", web.id, "store")
    assert (principal.models, principal.routes) == (frozenset({"m"}), frozenset({"chat"}))
    assert principal.limits == {"concurrency": 2}


def test_requests_share_a_principal_until_something_changes() -> None:
    alice, text = key()
    keys = directory(table(alice))
    first = keys.identify(text, "api", NOON)
    assert keys.identify(text, "api", NOON + 1) is first
    keys.replace(table(alice, version=2))
    assert keys.identify(text, "api", NOON + 1) is not first


@pytest.mark.parametrize("known", [False, True])
def test_a_wrong_secret_is_refused_as_an_unknown_key_is(known: bool) -> None:
    alice, _ = key()
    other = new_key_text("api", alice.id)
    error = refusal(directory(table(*[alice] * known)), other.text)
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert error.message == f"Incorrect API key provided: ****{other.text[-4:]}."


def test_a_text_that_is_no_key_is_refused() -> None:
    alice, text = key()
    assert type(refusal(directory(table(alice)), text[:-1])) is Unauthorized


def test_neither_kind_of_key_opens_the_other_side() -> None:
    alice, text = key()
    root, admin_text = key("root", "admin", role="admin")
    keys = directory(table(alice, root))
    assert "admin API" in refusal(keys, admin_text).message
    assert keys.identify(admin_text, "admin", NOON).id == root.id
    with pytest.raises(Unauthorized, match="admin API"):
        keys.identify(text, "admin", NOON)


def test_only_a_newer_table_replaces_the_current_one() -> None:
    alice, text = key()
    keys = directory(table(alice, version=5))
    assert not keys.replace(table(version=5))
    assert not keys.replace(table(version=4))
    assert keys.version == 5
    assert keys.identify(text, "api", NOON).id == alice.id
    assert keys.replace(table(version=6))
    assert refusal(keys, text).code == "invalid_api_key"


def test_a_key_that_expires_is_refused_from_that_moment_on_by_the_same_table() -> None:
    alice, text = key(expires_at=NOON)
    keys = directory(table(alice))
    assert keys.identify(text, "api", NOON - 1).id == alice.id
    error = refusal(keys, text)
    assert isinstance(error, KeyExpired)
    assert (error.status, error.code, error.key_id) == (401, "invalid_api_key", alice.id)
    assert error.message.startswith("This API key expired at 2026-11-29 12:00 (UTC).")


def test_both_secrets_work_until_the_grace_is_over() -> None:
    old, new = new_key_text("api"), None
    new = new_key_text("api", old.id)
    alice, _ = key()
    alice = msgspec.structs.replace(alice, id=old.id, secrets=(secret(old, NOON), secret(new)))
    keys = directory(table(alice))
    assert keys.identify(old.text, "api", NOON - 1) is keys.identify(new.text, "api", NOON - 1)
    error = refusal(keys, old.text)
    assert (error.code, type(error)) == ("invalid_api_key", KeyExpired)
    assert "Another API key has replaced this one" in error.message
    assert keys.identify(new.text, "api", NOON).id == old.id


def test_the_first_of_three_secrets_ends_when_the_third_is_made() -> None:
    """Two rotations within the grace: the table has the two newest secrets."""
    first = new_key_text("api")
    second, third = (new_key_text("api", first.id) for _ in range(2))
    alice, _ = key()
    alice = msgspec.structs.replace(alice, id=first.id, secrets=(secret(first), secret(second)))
    keys = directory(table(alice))
    rotated = msgspec.structs.replace(alice, secrets=(secret(second, NOON + DAY_MS), secret(third)))
    keys.replace(table(rotated, version=2))
    assert refusal(keys, first.text).status == 401
    assert {keys.identify(one.text, "api", NOON).id for one in (second, third)} == {alice.id}


def test_a_blocked_key_is_told_why() -> None:
    alice, text = key(blocked_at=NOON, blocked_reason="found in a repository")
    error = refusal(directory(table(alice)), text)
    assert isinstance(error, KeyBlocked)
    assert (error.status, error.code, error.key_id) == (403, "key_blocked", alice.id)
    assert "is blocked: found in a repository." in error.message


def test_a_blocked_key_with_a_wrong_secret_is_only_unknown() -> None:
    alice, _ = key(blocked_at=NOON, blocked_reason="found in a repository")
    error = refusal(directory(table(alice)), new_key_text("api", alice.id).text)
    assert error.status == 401
    assert error.message.startswith("Incorrect API key provided: ")


def test_a_key_that_is_over_is_unknown_before_it_is_blocked() -> None:
    web = team(blocked_at=NOON)
    alice, text = key(expires_at=NOON, blocked_at=NOON, team_id=web.id)
    assert type(refusal(directory(table(alice, teams=(web,))), text)) is KeyExpired
    alice, text = key(blocked_at=NOON, blocked_reason="lost", team_id=web.id)
    assert "is blocked: lost." in refusal(directory(table(alice, teams=(web,))), text).message


def test_keys_of_a_blocked_team_are_blocked() -> None:
    web = team(blocked_at=NOON)
    alice, text = key(team_id=web.id)
    error = refusal(directory(table(alice, teams=(web,))), text)
    assert (error.code, "team of this API key, web" in error.message) == ("key_blocked", True)


def test_keys_of_a_deleted_team_are_blocked_at_once() -> None:
    web = team()
    keys = [key(f"k{index}", team_id=web.id) for index in range(5)]
    known = directory(table(*[record for record, _ in keys], teams=(web,)))
    for _, text in keys:
        known.identify(text, "api", NOON)
    known.replace(table(*[record for record, _ in keys], version=2))
    assert {refusal(known, text).code for _, text in keys} == {"key_blocked"}


def test_a_key_in_a_team_of_the_configuration_has_its_name_as_keys_of_that_file_do() -> None:
    alice, text = key(team_id="ops-of-file1")
    known = directory(table(alice, config_teams={"ops-of-file1": "ops"}))
    principal = known.identify(text, "api", NOON)
    assert (principal.team, principal.team_id) == ("ops", "")
    assert (known.team_name("ops-of-file1"), known.team("ops-of-file1")) == ("ops", None)
    web = team()
    known.replace(table(alice, version=2, teams=(web,)))
    assert (known.team_name(web.id), known.team_name("ops-of-file1")) == ("web", None)
    assert refusal(known, text).code == "key_blocked"


def test_a_session_of_a_key_is_checked_as_the_key_is() -> None:
    root, _ = key("root", "admin", role="admin")
    keys = directory(table(root))
    assert keys.admit(root.id, NOON).name == "root"
    keys.replace(table(msgspec.structs.replace(root, blocked_at=NOON), version=2))
    with pytest.raises(KeyBlocked):
        keys.admit(root.id, NOON)
    keys.replace(table(version=3))
    with pytest.raises(Unauthorized):
        keys.admit(root.id, NOON)


def test_grants_raise_the_limits_of_their_period_and_no_other() -> None:
    web = team(limits={"requests_per_month": 100})
    alice, text = key(team_id=web.id, limits={"tokens_per_day": 10, "concurrency": 1})
    grants = (
        grant(alice, "tokens_per_day", 5, "2026-11-29"),
        grant(alice, "tokens_per_day", 2, "2026-11-29"),
        grant(alice, "tokens_per_day", 1000, "2026-11-30"),
        grant(alice, "tokens_per_month", 50, "2026-11"),
        grant(web, "requests_per_month", 1, "2026-11"),
        grant(web, "requests_per_month", 1000, "2026-12"),
    )
    keys = directory(table(alice, teams=(web,), grants=grants))
    principal = keys.identify(text, "api", NOON)
    assert principal.limits == {"tokens_per_day": 17, "concurrency": 1}
    # It has no such limit, but may have one by default.
    assert principal.grants == {"tokens_per_month": 50}
    assert keys.limits_of_team(web.id, NOON) == {"requests_per_month": 101}
    assert keys.limits_of_team(web.id, NOON) is keys.limits_of_team(web.id, NOON)
    tomorrow = keys.identify(text, "api", NOON + DAY_MS)
    assert tomorrow.limits["tokens_per_day"] == 1010
    assert keys.identify(text, "api", NOON + 2 * DAY_MS).limits["tokens_per_day"] == 10
    assert keys.limits_of_team(web.id, NOON + 2 * DAY_MS) == {"requests_per_month": 1100}


def test_the_day_of_a_grant_is_that_of_the_gateway() -> None:
    alice, text = key(limits={"tokens_per_day": 10})
    granted = grant(alice, "tokens_per_day", 5, "2026-11-30")
    keys = directory(table(alice, grants=(granted,)))
    evening = NOON + DAY_MS // 3  # 20:00 UTC
    assert keys.identify(text, "api", evening).limits == {"tokens_per_day": 10}
    keys.configure(ZoneInfo("Asia/Shanghai"))
    assert keys.identify(text, "api", evening).limits == {"tokens_per_day": 15}


def test_a_name_can_be_used_again_and_the_ids_tell_the_keys_apart() -> None:
    (first, _), (second, text) = key("alice"), key("alice")
    keys = directory(table(second))
    assert keys.identify(text, "api", NOON).id == second.id
    assert keys.key(first.id) is None
    assert keys.principal(first.id, NOON) is None


def test_a_team_that_does_not_exist_has_no_limits() -> None:
    assert directory(table()).limits_of_team("nobody", NOON) == {}


def test_a_scope_of_limits_has_the_name_of_its_key_or_team() -> None:
    web = team()
    alice, _ = key("alice")
    keys = directory(table(alice, teams=(web,)))
    assert keys.named_scope(f"key {alice.id}") == "key alice"
    assert keys.named_scope(f"team {web.id}") == "team web"
    for other in ("key bob", "team app", "gateway", f"address {alice.id}"):
        assert keys.named_scope(other) == other


def test_to_find_a_key_is_no_more_work_among_a_hundred_times_as_many() -> None:
    counted = []
    for count in (10, 1000):
        records = [key(f"k{number}") for number in range(count)]
        keys = directory(table(*[record for record, _ in records]))
        text = records[-1][1]
        keys.identify(text, "api", NOON)
        counted.append(calls_of(partial(keys.identify, text, "api", NOON)))
        unknown = new_key_text("api").text
        counted.append(
            calls_of(partial(pytest.raises, Unauthorized, keys.identify, unknown, "api", NOON))
        )
    assert counted[:2] == counted[2:]
