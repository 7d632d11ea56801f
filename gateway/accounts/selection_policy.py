"""Selects the account that a request gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """Describes what a policy compares.

    busy, limit: slots in use, and all slots.
    lease_number: the number of the account's newest lease; the least recently used account
        has the lowest.
    """

    busy: int
    limit: int
    lease_number: int

    @property
    def ready(self) -> bool: ...

    @property
    def half_open(self) -> bool: ...


C = TypeVar("C", bound=Candidate)


def least_busy(candidates: Sequence[C], *, half_open_first: bool) -> C:
    """Select the candidate with the lowest share of busy slots.

    Among equals the least recently used one is selected. Accounts that are logged in come
    before all others.

    candidates: at least one.
    half_open_first: whether half-open accounts come before all others; else they come last.
        Only a request can test such an account, so this is true as long as a failed request
        can be retried with another account.
    """
    return min(
        candidates,
        key=lambda a: (
            a.half_open != half_open_first,
            not a.ready,
            a.busy / a.limit,
            a.lease_number,
        ),
    )
