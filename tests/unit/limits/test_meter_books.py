"""The meter against simple books, over any order of claims, ends and clock changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits.claims import Claim, Scope
from gateway.limits.names import LIMIT_NAMES, NAMES_OF_KIND, TOKEN_NAMES, Kind
from gateway.limits.periods import local_day
from tests.unit.limits.support import Clocked

STARTS = (
    ("Asia/Shanghai", "2026-11-30 23:59:00"),
    ("Asia/Kolkata", "2026-12-31 23:58:30"),
    ("Asia/Kathmandu", "2026-11-30 23:59:00"),
    ("America/New_York", "2026-03-07 23:59:00"),
    ("America/New_York", "2026-03-08 01:59:00"),
    ("America/New_York", "2026-11-01 00:59:00"),
    ("America/New_York", "2026-10-31 23:59:30"),
)
IDS = ("key a", "key b", "team t", "gateway", "address x")
GROUPS = ((0, 2, 3), (1, 2, 3), (1, 3), (4, 3))


@dataclass
class BookEntry:
    """A request that was admitted."""

    scopes: tuple[Scope, ...]
    kind: Kind
    monotonic: float
    wall: float
    tokens: int
    prompt: int
    open: bool = True
    withdrawn: bool = False


@dataclass
class MeterBooks:
    """All that was admitted, summed anew for each question."""

    clocked: Clocked
    zone: str
    entries: dict[str, BookEntry] = field(default_factory=dict)

    def day(self, wall: float) -> str:
        return local_day(wall, ZoneInfo(self.zone))

    def used(self, scope_id: str, limit: str) -> tuple[int, int]:
        """Return the least and the most that may be counted."""
        now, wall = self.clocked.monotonic, self.clocked.wall
        mine = [
            entry
            for entry in self.entries.values()
            if any(scope.id == scope_id for scope in entry.scopes)
            and limit in NAMES_OF_KIND[entry.kind]
            and not entry.withdrawn
        ]
        if limit == "concurrency":
            return (count := sum(entry.open for entry in mine)), count
        period = limit.rpartition("_")[2]
        if period in ("day", "month"):
            length = 10 if period == "day" else 7
            mine = [e for e in mine if self.day(e.wall)[:length] == self.day(wall)[:length]]
            total = sum(e.tokens for e in mine) if limit in TOKEN_NAMES else len(mine)
            return total, total
        if limit not in TOKEN_NAMES:
            return (count := sum(e.monotonic > now - 60 for e in mine)), count
        if period == "minute":
            return (
                sum(e.tokens for e in mine if e.monotonic > now - 60),
                sum(e.tokens for e in mine if e.monotonic > now - 61),
            )
        seconds, width = (5 * 3600, 300) if period == "5h" else (7 * 86_400, 3600)
        return (
            sum(e.tokens for e in mine if e.wall > wall - seconds),
            sum(e.tokens for e in mine if e.wall > wall - seconds - width),
        )


limits = st.dictionaries(st.sampled_from(LIMIT_NAMES), st.integers(0, 12), max_size=6)
kinds: st.SearchStrategy[Kind] = st.sampled_from(("chat", "completion", "listing"))
claims = st.tuples(
    st.just("claim"),
    st.sampled_from(GROUPS),
    kinds,
    st.integers(0, 4),
    st.integers(0, 4),
)
steps = st.one_of(
    claims,
    claims,
    st.tuples(st.just("repeat"), st.integers(0, 40)),
    st.tuples(st.just("settle"), st.integers(0, 40), st.one_of(st.none(), st.integers(0, 20))),
    st.tuples(st.just("withdraw"), st.integers(0, 40)),
    st.tuples(st.just("wait"), st.sampled_from((0.5, 7.0, 59.5, 301.0, 3600.0, 40_000.0))),
)


@settings(max_examples=300)
@given(
    st.sampled_from(STARTS),
    st.lists(limits, min_size=5, max_size=5),
    st.lists(steps, max_size=40),
)
def test_counts_agree_with_the_books_after_every_step(
    start: tuple[str, str], all_limits: list[dict[str, int]], script: list[tuple[object, ...]]
) -> None:
    zone, begin = start
    clocked = Clocked(begin, zone)
    books = MeterBooks(clocked, zone)
    scopes = [Scope(name, found) for name, found in zip(IDS, all_limits, strict=True)]
    for number, step in enumerate(script):
        match step:
            case ("claim", (*group,), kind, int(prompt), int(expected)):
                made = Claim(
                    str(number),
                    tuple(scopes[cast(int, i)] for i in group),
                    cast(Kind, kind),
                    prompt + expected,
                    prompt,
                )
                before = clocked.meter.look(made.scopes, made.kind)
                verdict = clocked.meter.claim(made)
                if before is not None:
                    assert not verdict.admitted
                if verdict.admitted:
                    assert prompt <= verdict.tokens <= prompt + expected
                    books.entries[made.id] = BookEntry(
                        made.scopes,
                        made.kind,
                        clocked.monotonic,
                        clocked.wall,
                        verdict.tokens,
                        prompt,
                        open=made.kind != "listing",
                    )
                    for standing in clocked.meter.standings(made.scopes):
                        if standing.limit in NAMES_OF_KIND[made.kind]:
                            assert standing.used <= standing.maximum
                else:
                    limit_of = next(s for s in made.scopes if s.id == verdict.scope).limits
                    assert limit_of[verdict.limit] == verdict.maximum
                    assert (verdict.retry_after > 0) == verdict.satisfiable
            case ("repeat", int(other)) if entry := books.entries.get(str(other)):
                again = Claim(str(other), entry.scopes, entry.kind, 4, 0)
                assert clocked.meter.claim(again).admitted
            case ("settle", int(other), int() | None as used):
                ended = books.entries.get(str(other))
                was_open = ended is not None and ended.open
                assert clocked.meter.settle(str(other), used) == was_open
                if ended is not None and ended.open:
                    ended.tokens = ended.prompt if used is None else used
                    ended.open = False
            case ("withdraw", int(other)):
                ended = books.entries.get(str(other))
                if clocked.meter.withdraw(str(other)):
                    assert ended is not None
                    assert ended.open
                    ended.open, ended.withdrawn = False, True
            case ("wait", float(seconds)):
                clocked.after(seconds)
        for standing in clocked.meter.standings(scopes):
            least, most = books.used(standing.scope, standing.limit)
            assert least <= standing.used <= most, (standing, least, most)
            assert standing.left == max(0, standing.maximum - standing.used)
            assert standing.resets >= 0
            assert (standing.resets > 0) == (standing.used > 0)
        assert clocked.meter.open == sum(entry.open for entry in books.entries.values())


@given(
    st.lists(st.tuples(st.floats(-90_000, 90_000), st.integers(0, 500)), max_size=30),
)
def test_a_wall_clock_that_jumps_leaves_no_count_negative_and_none_for_ever(
    jumps: list[tuple[float, int]],
) -> None:
    clocked = Clocked()
    scope = Scope("key a", dict.fromkeys(LIMIT_NAMES, 10**6))
    for number, (jump, tokens) in enumerate(jumps):
        clocked.claim(scope, claim_id=str(number), prompt=100)
        clocked.wall += jump
        clocked.meter.settle(str(number - 1), tokens)
        assert all(s.used >= 0 for s in clocked.meter.standings([scope]))
    clocked.meter.settle(str(len(jumps) - 1), 0)
    clocked.after(40 * 86_400)
    assert [s.used for s in clocked.meter.standings([scope])] == [0] * len(LIMIT_NAMES)
