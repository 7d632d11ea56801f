"""A meter with clocks that a test sets, and claims with few words."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.limits.claims import Claim, Scope, Standing, Verdict
from gateway.limits.meter import LocalMeter
from gateway.limits.names import Kind


def unix(text: str, zone: str = "Asia/Shanghai", *, fold: int = 0) -> float:
    """Return the unix seconds of a local time such as `2026-11-28 23:59:30`."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


class Clocked:
    """A meter whose clocks stand still until `after` moves them."""

    def __init__(
        self,
        at: str = "2026-11-28 12:00:00",
        zone: str = "Asia/Shanghai",
        *,
        max_callers: int = 10_000,
        max_scopes: int = 10_000,
    ) -> None:
        self.monotonic = 1000.0
        self.wall = unix(at, zone)
        self.count = 0
        self.meter = LocalMeter(
            lambda: self.monotonic,
            lambda: self.wall,
            ZoneInfo(zone),
            max_callers=max_callers,
            max_scopes=max_scopes,
        )

    def after(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds

    def claim(
        self,
        *scopes: Scope,
        kind: Kind = "chat",
        prompt: int = 0,
        tokens: int | None = None,
        claim_id: str | None = None,
    ) -> Verdict:
        """Claim with a new id, which is `last_id` then. Without `tokens` no answer is expected."""
        self.count += 1
        self.last_id = str(self.count) if claim_id is None else claim_id
        expected = prompt if tokens is None else tokens
        return self.meter.claim(Claim(self.last_id, scopes, kind, expected, prompt))

    def use(self, *scopes: Scope, tokens: int = 0, kind: Kind = "chat") -> Verdict:
        """Claim, and settle what was claimed."""
        verdict = self.claim(*scopes, kind=kind, prompt=tokens)
        self.meter.settle(self.last_id, tokens)
        return verdict

    def standing(self, scope: Scope, limit: str) -> Standing:
        return next(s for s in self.meter.standings([scope]) if s.limit == limit)

    def used(self, scope: Scope, limit: str) -> int:
        return self.standing(scope, limit).used


def key(name: str = "alice", /, **limits: int) -> Scope:
    return Scope(f"key {name}", limits)


def team(name: str = "web", /, **limits: int) -> Scope:
    return Scope(f"team {name}", limits)


def gateway(**limits: int) -> Scope:
    return Scope("gateway", limits)


def address(name: str, /, **limits: int) -> Scope:
    return Scope(f"address {name}", limits)
