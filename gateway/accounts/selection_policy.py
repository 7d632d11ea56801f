"""Which of several accounts a request gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """What a policy looks at: the lowest `lease_number` was used longest ago."""

    busy: int
    limit: int
    lease_number: int

    @property
    def ready(self) -> bool: ...

    @property
    def on_trial(self) -> bool: ...


C = TypeVar("C", bound=Candidate)


def least_busy(candidates: Sequence[C], *, may_risk: bool) -> C:
    """Of one candidate or more that with the smallest part of its slots in use; of equal ones
    that which was used longest ago; one that is logged in before one that is not.

    A half open account comes first as long as a failure can be made up for with another
    (may_risk), since nothing but a request can tell whether it is well again; else last.
    """
    return min(
        candidates,
        key=lambda a: (a.on_trial != may_risk, not a.ready, a.busy / a.limit, a.lease_number),
    )
