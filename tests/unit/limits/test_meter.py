"""Verdicts of the meter: which limit decides, what is charged and where."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from gateway.limits.claims import Claim, Scope, Seed
from gateway.limits.names import BUDGET_NAMES, LIMIT_NAMES, NAMES_OF_KIND, TOKEN_NAMES, Kind
from tests.counting import calls_of
from tests.unit.limits.support import Clocked, address, gateway, key, team, unix

KINDS: tuple[Kind, ...] = ("chat", "completion", "listing")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", LIMIT_NAMES)
def test_three_hundred_claims_at_a_limit_admit_exactly_it(limit: str, kind: Kind) -> None:
    clocked = Clocked()
    scope = key(**{limit: 100})
    verdicts = [clocked.claim(scope, kind=kind, prompt=1) for _ in range(300)]
    if limit not in NAMES_OF_KIND[kind]:
        assert all(verdict.admitted for verdict in verdicts)
        return
    assert [verdict.admitted for verdict in verdicts] == [True] * 100 + [False] * 200
    refused = verdicts[-1]
    assert (refused.scope, refused.limit, refused.maximum) == ("key alice", limit, 100)
    assert (refused.used, refused.satisfiable) == (100, True)
    assert refused.retry_after > 0
    assert refused.may_queue == (limit == "concurrency")
    assert clocked.standing(scope, limit).left == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", LIMIT_NAMES)
def test_a_limit_of_zero_admits_nothing_and_says_that_waiting_is_useless(
    limit: str, kind: Kind
) -> None:
    clocked = Clocked()
    scope = key(**{limit: 0})
    look, verdict = clocked.meter.look([scope], kind), clocked.claim(scope, kind=kind)
    if limit not in NAMES_OF_KIND[kind]:
        assert (look, verdict.admitted) == (None, True)
        return
    assert look is not None
    for found in (look, verdict):
        assert (found.admitted, found.limit, found.maximum) == (False, limit, 0)
        assert (found.satisfiable, found.retry_after, found.may_queue) == (False, 0, False)


@pytest.mark.parametrize("limit", [name for name in LIMIT_NAMES if name != "listings_per_minute"])
def test_after_the_wait_of_a_refusal_a_request_is_admitted(limit: str) -> None:
    """But not shortly before."""
    clocked = Clocked()
    kind: Kind = "completion" if limit.startswith("completions") else "chat"
    scope = key(**{limit: 3})
    for _ in range(3):
        clocked.claim(scope, kind=kind, prompt=1)
        clocked.after(7)
    refused = clocked.claim(scope, kind=kind, prompt=1)
    assert not refused.admitted
    if limit == "concurrency":
        clocked.meter.settle("1", 0)
    else:
        clocked.after(refused.retry_after - 0.01)
        assert not clocked.claim(scope, kind=kind, prompt=1).admitted
        clocked.after(0.0101)
    assert clocked.claim(scope, kind=kind, prompt=1).admitted


def test_a_claim_that_is_refused_by_one_scope_counts_in_none() -> None:
    clocked = Clocked()
    scopes = (
        key(chats_per_minute=9, tokens_per_minute=900),
        team(requests_per_day=2),
        gateway(tokens_per_month=900),
    )
    verdicts = [clocked.use(*scopes, tokens=10) for _ in range(5)]
    assert [verdict.admitted for verdict in verdicts] == [True, True, False, False, False]
    assert (verdicts[-1].scope, verdicts[-1].limit) == ("team web", "requests_per_day")
    assert clocked.used(scopes[0], "chats_per_minute") == 2
    assert clocked.used(scopes[0], "tokens_per_minute") == 20
    assert clocked.used(scopes[2], "tokens_per_month") == 20


def test_the_limit_of_a_team_holds_for_its_keys_together() -> None:
    clocked = Clocked()
    small = team(concurrency=10)
    alice, bob = key("alice", concurrency=4), key("bob", concurrency=40)
    assert all(clocked.claim(alice, small).admitted for _ in range(4))
    fifth = clocked.claim(alice, small)
    assert (fifth.scope, fifth.limit, fifth.may_queue) == ("key alice", "concurrency", True)
    assert all(clocked.claim(bob, small).admitted for _ in range(6))
    eleventh = clocked.claim(bob, small)
    assert (eleventh.scope, eleventh.may_queue) == ("team web", False)
    assert (eleventh.retry_after, eleventh.used) == (1.0, 10)
    # A caller who would be refused by the team after its turn does not wait for it.
    assert not clocked.claim(alice, small).may_queue


def test_of_several_limits_the_one_with_the_longest_wait_refuses() -> None:
    clocked = Clocked("2026-11-28 23:59:00")
    scopes = key(chats_per_minute=1, concurrency=1), team(requests_per_month=1), gateway()
    clocked.claim(*scopes)
    clocked.after(50)
    refused = clocked.claim(*scopes)
    assert (refused.scope, refused.limit) == ("team web", "requests_per_month")
    assert refused.retry_after == 10 + 2 * 24 * 3600
    never = clocked.claim(*scopes, key("other", tokens_per_minute=5), prompt=6)
    assert (never.limit, never.satisfiable) == ("tokens_per_minute", False)


def test_a_claim_that_comes_twice_is_counted_once() -> None:
    """Before and after its end: an answer may get lost on the way to another process."""
    clocked = Clocked()
    scope = key(chats_per_minute=5, concurrency=2, tokens_per_day=100)
    first = clocked.claim(scope, claim_id="a", prompt=10)
    assert clocked.claim(scope, claim_id="a", prompt=10) == first
    assert clocked.used(scope, "chats_per_minute") == 1
    assert clocked.meter.settle("a", 30)
    assert clocked.claim(scope, claim_id="a", prompt=10) == first
    assert clocked.used(scope, "concurrency") == 0
    assert clocked.used(scope, "tokens_per_day") == 30
    assert clocked.meter.open == 0


def test_settling_twice_or_what_never_was_changes_nothing() -> None:
    clocked = Clocked()
    scope = key(concurrency=2, tokens_per_day=100)
    clocked.claim(scope, claim_id="a", prompt=10)
    assert [clocked.meter.settle("a", 30), clocked.meter.settle("a", 50)] == [True, False]
    assert not clocked.meter.settle("b", 50)
    assert not clocked.meter.withdraw("a")
    assert clocked.used(scope, "tokens_per_day") == 30
    assert clocked.used(scope, "concurrency") == 0


def test_a_refused_claim_may_be_made_again() -> None:
    clocked = Clocked()
    scope = key(concurrency=1)
    clocked.claim(scope, claim_id="a")
    assert not clocked.claim(scope, claim_id="b").admitted
    clocked.meter.settle("a", 0)
    assert clocked.claim(scope, claim_id="b").admitted


def test_an_answer_much_longer_than_expected_is_a_debt() -> None:
    clocked = Clocked()
    scope = key(tokens_per_day=1000)
    clocked.claim(scope, prompt=100, tokens=200)
    clocked.meter.settle(clocked.last_id, 2000)
    standing = clocked.standing(scope, "tokens_per_day")
    assert (standing.used, standing.left) == (2000, 0)
    refused = clocked.claim(scope, prompt=1)
    assert (refused.limit, refused.used, refused.satisfiable) == ("tokens_per_day", 2000, True)
    assert refused.tokens_standing == standing
    clocked.after(12 * 3600)
    assert clocked.claim(scope, prompt=1).admitted


def test_a_prompt_beyond_the_limit_is_refused_for_good() -> None:
    clocked = Clocked()
    scope = key(tokens_per_minute=1000)
    for _ in range(3):
        refused = clocked.claim(scope, prompt=1001, tokens=1500)
        assert (refused.satisfiable, refused.retry_after) == (False, 0)
        assert refused.tokens == 1500
        clocked.after(100)
    assert clocked.used(scope, "tokens_per_minute") == 0


@pytest.mark.parametrize("limit", TOKEN_NAMES)
def test_if_only_the_expectation_does_not_fit_what_is_left_is_reserved(limit: str) -> None:
    clocked = Clocked()
    scopes = key(**{limit: 1000}), team(tokens_per_day=900)
    clocked.use(*scopes, tokens=300)
    verdict = clocked.claim(*scopes, prompt=100, tokens=5000)
    assert (verdict.admitted, verdict.tokens) == (True, 600)
    assert clocked.used(scopes[0], limit) == 900
    assert not clocked.claim(*scopes).admitted


def test_an_answer_that_never_fits_waits_for_the_prompt_alone() -> None:
    clocked = Clocked()
    scope = key(tokens_per_minute=1000)
    for tokens in (60, 890):
        clocked.use(scope, tokens=tokens)
        clocked.after(10)
    refused = clocked.claim(scope, prompt=100, tokens=5000)
    assert (refused.satisfiable, refused.retry_after) == (True, 41)
    clocked.after(41)
    assert clocked.claim(scope, prompt=100, tokens=5000).tokens == 110


def test_an_abort_returns_what_was_reserved_and_keeps_the_request() -> None:
    """With what is known: nothing, the prompt, or the prompt and what was delivered."""
    clocked = Clocked()
    scope = key(concurrency=9, requests_per_day=9, tokens_per_day=10_000)
    for settled, charged in ((0, 0), (None, 100), (130, 130)):
        before = clocked.used(scope, "tokens_per_day")
        clocked.claim(scope, prompt=100, tokens=600)
        assert clocked.used(scope, "tokens_per_day") == before + 600
        clocked.meter.settle(clocked.last_id, settled)
        assert clocked.used(scope, "tokens_per_day") == before + charged
        assert clocked.used(scope, "concurrency") == 0
    assert clocked.used(scope, "requests_per_day") == 3


def test_what_is_withdrawn_was_never_there() -> None:
    clocked = Clocked()
    scope = key(**dict.fromkeys(LIMIT_NAMES, 1000))
    before = clocked.meter.standings([scope])
    clocked.claim(scope, prompt=100, tokens=600)
    assert clocked.meter.withdraw(clocked.last_id)
    after = clocked.meter.standings([scope])
    assert [s.used for s in after] == [s.used for s in before] == [0] * len(LIMIT_NAMES)


def test_a_stream_of_three_hours_keeps_its_place() -> None:
    clocked = Clocked()
    scope = key(concurrency=1)
    clocked.claim(scope)
    for _ in range(180):
        clocked.after(60)
        assert not clocked.claim(scope).admitted
    clocked.meter.settle("1", 0)
    assert clocked.claim(scope).admitted


def test_a_request_belongs_to_the_day_on_which_it_began() -> None:
    clocked = Clocked("2026-11-30 23:59:50")
    scope = key(tokens_per_day=1000, tokens_per_month=1000, requests_per_day=5)
    verdict = clocked.claim(scope, prompt=100)
    assert verdict.day == "2026-11-30"
    clocked.after(20)
    clocked.meter.settle(clocked.last_id, 900)
    assert clocked.used(scope, "tokens_per_day") == 0
    assert clocked.used(scope, "tokens_per_month") == 0
    assert clocked.used(scope, "requests_per_day") == 0
    assert clocked.claim(scope, prompt=1000).day == "2026-12-01"
    clocked.wall -= 30  # the clock is set back
    assert clocked.used(scope, "tokens_per_month") == 900


@pytest.mark.parametrize(
    ("zone", "evening", "to_midnight"),
    [
        ("Asia/Shanghai", "2026-11-28 00:00:00", 24),
        ("Asia/Kolkata", "2026-03-31 01:00:00", 23),
        ("Asia/Kathmandu", "2026-11-28 00:30:00", 23.5),
        ("America/New_York", "2026-03-08 01:00:00", 22),
        ("America/New_York", "2026-11-01 00:00:00", 25),
    ],
)
def test_a_daily_budget_is_free_again_at_local_midnight(
    zone: str, evening: str, to_midnight: float
) -> None:
    clocked = Clocked(evening, zone)
    scope = key(requests_per_day=1)
    clocked.use(scope)
    refused = clocked.claim(scope)
    assert refused.retry_after == to_midnight * 3600
    clocked.after(to_midnight * 3600 - 1)
    assert not clocked.claim(scope).admitted
    clocked.after(1)
    assert clocked.claim(scope).admitted


def test_another_time_zone_holds_from_the_next_request_on() -> None:
    clocked = Clocked("2026-11-28 20:00:00", "UTC")
    scope = key(requests_per_day=1)
    clocked.claim(scope)
    clocked.meter.configure(zone=ZoneInfo("Asia/Shanghai"))
    assert clocked.claim(scope).day == "2026-11-29"
    assert clocked.meter.settle("1", 5)


def test_budgets_of_keys_are_right_at_once_when_a_limit_is_added() -> None:
    clocked = Clocked()
    for _ in range(4):
        clocked.use(key(), team(), gateway(), tokens=50)
    limits = dict.fromkeys(BUDGET_NAMES, 10)
    for scope in (key(**limits), team(**limits), gateway(**limits)):
        used = {s.limit: s.used for s in clocked.meter.standings([scope])}
        assert used == {name: 200 if name in TOKEN_NAMES else 4 for name in BUDGET_NAMES}


def test_of_an_address_only_limits_are_counted() -> None:
    clocked = Clocked()
    clocked.use(address("::1"), tokens=50)
    assert clocked.used(address("::1", tokens_per_day=10), "tokens_per_day") == 0
    clocked.use(address("::1", tokens_per_day=60), tokens=50)
    assert clocked.used(address("::1", tokens_per_day=60), "tokens_per_day") == 50


def test_a_limit_that_changes_keeps_what_was_counted() -> None:
    clocked = Clocked()
    for _ in range(5):
        clocked.claim(key(chats_per_minute=5, concurrency=9))
    assert clocked.claim(key(chats_per_minute=6, concurrency=9)).admitted
    lower = clocked.claim(key(chats_per_minute=3))
    assert (lower.admitted, lower.used, lower.maximum) == (False, 6, 3)
    assert clocked.used(key(concurrency=1), "concurrency") == 6


def test_a_look_refuses_who_is_over_a_limit_and_changes_nothing() -> None:
    clocked = Clocked(max_callers=1)
    scopes = key(chats_per_minute=2), team(tokens_per_day=100)
    assert clocked.meter.look(scopes, "chat") is None
    assert clocked.meter.remembered() == (0, 0)
    clocked.use(*scopes, tokens=99)
    assert clocked.meter.look(scopes, "chat") is None
    clocked.use(*scopes, tokens=1)
    for _ in range(3):
        refused = clocked.meter.look(scopes, "chat")
        assert refused is not None
        assert (refused.limit, refused.used) == ("tokens_per_day", 100)
    assert clocked.used(scopes[0], "chats_per_minute") == 2
    assert clocked.meter.look(scopes, "listing") is None


def test_a_look_lets_pass_who_may_wait_in_line() -> None:
    clocked = Clocked()
    busy = key(concurrency=1)
    clocked.claim(busy, team(concurrency=1))
    assert clocked.meter.look([busy], "chat") is None
    refused = clocked.meter.look([busy, team(concurrency=1)], "chat")
    assert refused is not None
    assert (refused.limit, refused.may_queue) == ("concurrency", False)


def test_headers_show_the_limit_with_the_smallest_remaining_share() -> None:
    clocked = Clocked()
    scopes = (
        key(chats_per_minute=10, concurrency=1, tokens_per_minute=1000),
        team(requests_per_day=4, tokens_per_day=10_000),
        gateway(chats_per_minute=100),
    )
    verdict = clocked.claim(*scopes, prompt=100, tokens=300)
    requests, tokens = verdict.requests_standing, verdict.tokens_standing
    assert requests is not None
    assert tokens is not None
    assert (requests.scope, requests.limit) == ("team web", "requests_per_day")
    assert (requests.maximum, requests.left, requests.resets) == (4, 3, 12 * 3600)
    assert (tokens.scope, tokens.limit) == ("key alice", "tokens_per_minute")
    assert (tokens.maximum, tokens.left) == (1000, 700)
    assert 60 <= tokens.resets <= 61
    listing = clocked.claim(*scopes, kind="listing")
    assert (listing.requests_standing, listing.tokens_standing) == (None, None)


def test_addresses_are_forgotten_least_recently_seen_first_but_never_while_busy() -> None:
    clocked = Clocked(max_callers=3)
    scopes = {name: address(name, chats_per_minute=1, concurrency=5) for name in "abcdef"}
    clocked.claim(scopes["a"])
    for name in "bcb":
        clocked.use(scopes[name])
    clocked.use(scopes["d"])  # c is forgotten: a has an open request
    assert clocked.meter.remembered()[0] == 3
    assert not clocked.claim(scopes["a"]).admitted
    assert clocked.claim(scopes["c"]).admitted
    assert clocked.meter.remembered()[0] == 3


def test_when_all_addresses_are_busy_none_is_forgotten() -> None:
    clocked = Clocked(max_callers=2)
    for name in "abcd":
        clocked.claim(address(name, concurrency=1))
    assert not any(clocked.claim(address(name, concurrency=1)).admitted for name in "abcd")
    assert clocked.meter.remembered()[0] == 4
    for claim_id in ("1", "2", "3", "4"):
        clocked.meter.settle(claim_id, 0)
    clocked.use(address("e"))
    assert clocked.meter.remembered()[0] == 2


def test_keys_and_teams_have_a_bound_of_their_own() -> None:
    clocked = Clocked(max_scopes=3)
    for number in range(50):
        clocked.use(key(str(number)), team(), gateway(requests_per_day=100))
        clocked.use(address(str(number)))
    assert clocked.meter.remembered() == (50, 3)
    assert clocked.used(gateway(requests_per_day=100), "requests_per_day") == 50


def test_what_was_used_before_the_start_counts() -> None:
    clocked = Clocked()
    now = int(clocked.wall)
    clocked.meter.seed(
        [
            Seed(
                "key alice",
                day="2026-11-28",
                day_requests=7,
                day_tokens=700,
                month="2026-11",
                month_requests=70,
                month_tokens=7000,
                five_hours=((now - 3600, 40), (now - 6 * 3600, 1000)),
                seven_days=((now - 3600, 40), (now - 6 * 3600, 1000)),
            ),
            Seed("team web", day="2026-11-27", day_requests=5, day_tokens=5),
        ]
    )
    scope = key(**dict.fromkeys(BUDGET_NAMES, 100_000))
    clocked.use(scope, tokens=1)
    assert {s.limit: s.used for s in clocked.meter.standings([scope])} == {
        "requests_per_day": 8,
        "requests_per_month": 71,
        "tokens_per_5h": 41,
        "tokens_per_day": 701,
        "tokens_per_7d": 1041,
        "tokens_per_month": 7001,
    }
    assert clocked.used(team(requests_per_day=9), "requests_per_day") == 0


def test_worked_case_tokens_of_a_minute() -> None:
    clocked = Clocked()
    scope = key(tokens_per_minute=10_000)
    first = clocked.claim(scope, prompt=3000, tokens=3500)
    assert first.tokens_standing is not None
    assert first.tokens_standing.left == 6500
    clocked.meter.settle(clocked.last_id, 4800)
    assert clocked.standing(scope, "tokens_per_minute").left == 5200
    clocked.after(10)
    assert clocked.claim(scope, prompt=3000, tokens=3500).admitted
    clocked.after(10)
    third = clocked.claim(scope, prompt=3000, tokens=3500)
    assert (third.admitted, third.used, third.tokens) == (False, 8300, 3500)
    # The first request leaves the window a minute after its second.
    assert third.retry_after == 41
    clocked.after(41)
    assert clocked.claim(scope, prompt=3000, tokens=3500).admitted


def test_worked_case_tokens_of_a_day() -> None:
    clocked = Clocked("2026-11-28 18:00:00")
    scope = key(tokens_per_day=1_000_000)
    clocked.use(scope, tokens=999_000)
    refused = clocked.claim(scope, prompt=3000, tokens=3500)
    assert (refused.limit, refused.used) == ("tokens_per_day", 999_000)
    assert clocked.wall + refused.retry_after == unix("2026-11-29 00:00:00")

    clocked = Clocked("2026-11-28 18:00:00")
    clocked.use(scope, tokens=997_500)
    assert clocked.claim(scope, prompt=2000, tokens=2500).tokens == 2500
    clocked.meter.settle(clocked.last_id, 6000)
    standing = clocked.standing(scope, "tokens_per_day")
    assert (standing.used, standing.left) == (1_003_500, 0)
    assert not clocked.claim(scope).admitted


def test_a_request_costs_as_many_calls_with_a_thousand_others_as_alone() -> None:
    scopes = (
        key(chats_per_minute=10**6, concurrency=10**4, tokens_per_day=10**9),
        team(tokens_per_5h=10**9, tokens_per_day=10**9),
        gateway(chats_per_minute=10**6),
    )

    def calls(others: int) -> int:
        clocked = Clocked()
        for number in range(others):
            clocked.claim(Scope(f"key {number}", {"concurrency": 5}), *scopes[1:], prompt=5)
        clocked.claim(*scopes, prompt=5)
        claim = Claim("x", scopes, "chat", 3500, 3000)

        def work() -> None:
            clocked.meter.claim(claim)
            clocked.meter.settle("x", 3100)

        return calls_of(work)

    assert calls(1000) <= calls(0) + 5
    assert calls(0) < 200
