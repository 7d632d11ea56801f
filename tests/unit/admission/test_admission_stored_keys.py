"""Limits of keys and teams made at run time count by ids, and speak of names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from gateway.config.settings import TeamSettings
from gateway.options import Secret
from middlewares.api_key import Key, api_key
from middlewares.rate_limit import rate_limit
from tests.unit.admission.support import Admitting
from tests.unit.keys.support import grant, key, table, team


async def test_a_team_made_at_run_time_limits_its_keys_together_by_its_name() -> None:
    gateway = Admitting()
    web = team("web", limits={"chats_per_minute": 3})
    (alice, one), (bob, other) = (key(name, team_id=web.id) for name in ("alice", "bob"))
    gateway.keys.replace(table(alice, bob, teams=(web,)))
    async with gateway.running(api_key(keys=[])) as app:
        replies = [await app.call({"x-api-key": text}, path="/chat") for text in (one, other) * 2]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert "for team web:" in replies[-1].text


async def test_a_team_of_the_configuration_limits_keys_of_both_sources_together() -> None:
    gateway = Admitting(teams=(TeamSettings(name="ops", chats_per_minute=3),))
    alice, text = key("alice", team_id="ops-of-file1")
    gateway.keys.replace(table(alice, config_teams={"ops-of-file1": "ops"}))
    ci = Key(name="ci", key=Secret("sesame-of-the-team"), team="ops")
    async with gateway.running(api_key(keys=[ci])) as app:
        sent = [text, ci.key.value] * 2
        replies = [await app.call({"x-api-key": one}, path="/chat") for one in sent]
        replies.append(await app.call({"x-api-key": text}, path="/chat"))
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
    assert all("for team ops:" in reply.text for reply in replies[-2:])


async def test_a_team_that_is_gone_from_the_configuration_has_no_limits() -> None:
    gateway = Admitting()
    alice, text = key("alice", team_id="ops-of-file1")
    gateway.keys.replace(table(alice, config_teams={"ops-of-file1": "ops"}))
    async with gateway.running(api_key(keys=[])) as app:
        assert (await app.call({"x-api-key": text}, path="/chat")).status == 200


async def test_a_renamed_key_keeps_its_counts_and_a_changed_limit_holds_at_once() -> None:
    gateway = Admitting()
    alice, text = key("alice", limits={"chats_per_minute": 2})
    gateway.keys.replace(table(alice))
    async with gateway.running(api_key(keys=[])) as app:

        async def ask() -> tuple[int, str]:
            reply = await app.call({"x-api-key": text}, path="/chat")
            return reply.status, reply.text

        assert [(await ask())[0] for _ in range(3)] == [200, 200, 429]
        limits = {"chats_per_minute": 3}
        changed = msgspec.structs.replace(alice, name="alicia", limits=limits)
        gateway.keys.replace(table(changed, version=2))
        assert (await ask())[0] == 200
        status, said = await ask()
    assert status == 429
    assert "for key alicia: 3 chats" in said


async def test_a_grant_raises_a_limit_that_the_key_has_by_default() -> None:
    gateway = Admitting()
    alice, text = key("alice")
    today = datetime.now(UTC).date()
    days = (today, today + timedelta(days=1))  # the test may run over midnight
    grants = tuple(grant(alice, "requests_per_day", 2, day.isoformat()) for day in days)
    gateway.keys.replace(table(alice, grants=grants))
    default = rate_limit(requests_per_minute=100, requests_per_day=1)
    async with gateway.running(api_key(keys=[]), default) as app:
        replies = [await app.call({"x-api-key": text}, path="/chat") for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert "3 of 3 requests per day" in replies[-1].text
