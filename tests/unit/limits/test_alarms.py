"""Operators hear once per period that most of a budget is used, and once that all is."""

from __future__ import annotations

import pytest

from gateway.limits.alarms import BudgetReached
from gateway.limits.meter import LocalMeter
from tests.unit.limits.support import Clocked, address, gateway, key, team


class Heard:
    """A meter, and what it said of budgets: scope, limit, percent, used."""

    def __init__(self, at: str = "2026-11-28 12:00:00", zone: str = "Asia/Shanghai") -> None:
        self.clocked = Clocked(at, zone)
        self.all: list[BudgetReached] = []
        self.clocked.meter.on_budget = self.all.append

    @property
    def latest(self) -> list[tuple[str, str, int, int]]:
        """Return what was said since the last question."""
        found = [(said.scope, said.limit, said.percent, said.used) for said in self.all]
        self.all.clear()
        return found


def test_each_share_is_said_once_in_a_day_and_again_in_the_next() -> None:
    heard = Heard()
    alice = key(tokens_per_day=1000)
    for tokens, said in ((799, []), (1, [80]), (100, []), (99, []), (1, [100])):
        assert heard.clocked.use(alice, tokens=tokens).admitted
        assert [percent for _, _, percent, _ in heard.latest] == said
    for _ in range(3):
        assert not heard.clocked.use(alice, tokens=1).admitted
        assert heard.clocked.meter.look([alice], "chat") is not None
    assert heard.latest == []
    heard.clocked.after(12 * 3600)
    heard.clocked.use(alice, tokens=900)
    assert heard.latest == [("key alice", "tokens_per_day", 80, 900)]


def test_who_uses_all_at_once_is_told_of_the_whole_alone() -> None:
    heard = Heard()
    heard.clocked.use(key(requests_per_month=1))
    (said,) = heard.all
    assert said == BudgetReached("key alice", "requests_per_month", 100, 1, 1, said.resets)
    assert said.resets == 2.5 * 86_400  # until the month ends


def test_key_team_and_gateway_have_an_alarm_for_each_budget() -> None:
    heard = Heard()
    alice = key(requests_per_day=2, tokens_per_7d=1000)
    heard.clocked.use(alice, team(tokens_per_5h=100), gateway(tokens_per_month=95), tokens=90)
    assert heard.latest == [
        ("team web", "tokens_per_5h", 80, 90),
        ("gateway", "tokens_per_month", 80, 90),
    ]
    heard.clocked.use(alice, tokens=800)
    assert heard.latest == [
        ("key alice", "requests_per_day", 100, 2),
        ("key alice", "tokens_per_7d", 80, 890),
    ]


def test_what_is_only_reserved_says_nothing() -> None:
    heard = Heard()
    alice = key(tokens_per_day=1000)
    heard.clocked.claim(alice, prompt=10, tokens=850, claim_id="long")
    assert heard.latest == []
    heard.clocked.meter.settle("long", 20)
    assert heard.latest == []


def test_a_sliding_budget_that_goes_up_and_down_is_said_once_in_its_length() -> None:
    heard = Heard()
    alice = key(tokens_per_5h=1000)
    heard.clocked.use(alice, tokens=200)
    heard.clocked.after(3600)
    heard.clocked.use(alice, tokens=600)
    assert len(heard.latest) == 1
    heard.clocked.after(4 * 3600 + 600)  # the first 200 have left
    heard.clocked.use(alice, tokens=250)
    assert heard.latest == []
    heard.clocked.after(3600)
    heard.clocked.use(alice, tokens=700)
    assert heard.latest == [("key alice", "tokens_per_5h", 80, 950)]


def test_a_budget_that_a_reload_lowers_or_a_start_finds_used_is_said() -> None:
    heard = Heard()
    heard.clocked.use(key(tokens_per_day=1000), tokens=500)
    assert heard.latest == []
    assert heard.clocked.meter.look([key(tokens_per_day=400)], "chat") is not None
    assert heard.latest == [("key alice", "tokens_per_day", 100, 500)]
    other = key(tokens_per_day=400, chats_per_minute=3)  # the same budget beside another limit
    assert not heard.clocked.use(other).admitted
    assert heard.latest == []


def test_a_clock_that_goes_back_over_midnight_repeats_nothing_that_matters() -> None:
    heard = Heard("2026-11-28 23:59:59")
    alice = key(tokens_per_day=100)
    heard.clocked.use(alice, tokens=90)
    heard.clocked.after(2)
    heard.clocked.use(alice, tokens=90)
    assert len(heard.latest) == 2  # one for each day


def test_limits_per_minute_of_zero_and_of_addresses_have_none() -> None:
    heard = Heard()
    heard.clocked.use(key(chats_per_minute=1, tokens_per_minute=10), tokens=10)
    heard.clocked.use(address("192.0.2.1", chats_per_minute=1))
    assert not heard.clocked.use(key("bob", tokens_per_day=0)).admitted
    assert heard.latest == []


def test_a_request_without_budgets_costs_no_look_at_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    def report(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(LocalMeter, "_report", report)
    heard = Heard()
    assert heard.clocked.use(key(chats_per_minute=9), team(concurrency=9), gateway()).admitted


def test_what_is_left_of_budgets_is_that_of_the_smallest_after_the_reservation() -> None:
    heard = Heard()
    scopes = key(tokens_per_day=1000, tokens_per_minute=600), team(tokens_per_month=700)
    verdict = heard.clocked.claim(*scopes, prompt=5, tokens=300)
    assert (verdict.admitted, verdict.tokens, verdict.budget_left) == (True, 300, 400)
    assert heard.clocked.claim(*scopes, prompt=500).budget_left == 400  # refused
    assert heard.clocked.claim(*scopes, kind="listing").budget_left is None
    assert heard.clocked.claim(key("bob", tokens_per_minute=900)).budget_left is None
    heard.clocked.meter.settle("1", 5000)
    assert heard.clocked.claim(*scopes, prompt=1).budget_left == 0  # and not negative
