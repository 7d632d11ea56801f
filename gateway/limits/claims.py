"""Defines what is asked of a meter, and its answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.limits.names import Kind


class Scope(msgspec.Struct, frozen=True):
    """Names who is limited, and how.

    id: `key <principal id>`, `team <name>`, `gateway`, or `address <a>`.
    limits: numbers by the names of `LIMIT_NAMES`. A limit of 0 admits nothing.
    """

    id: str
    limits: Mapping[str, int]

    def __post_init__(self) -> None:
        if not isinstance(self.limits, dict):  # a principal's cannot be sent to another process
            msgspec.structs.force_setattr(self, "limits", dict(self.limits))

    @property
    def is_caller(self) -> bool:
        """Return whether this is the one who sends the request, not a group of callers."""
        return self.id.startswith(("key ", "address "))


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Requests to admit one request, in all of its scopes or in none.

    id: unique for each request; a client must not be able to choose it.
    tokens: what is reserved: the estimate of the prompt and the expected answer.
    prompt_tokens: the part of `tokens` that is certain.
    conversation: callers' conversations take turns in the line.
    side_call: whether the request is not what the user waits for, such as a title.
    """

    id: str
    scopes: tuple[Scope, ...]
    kind: Kind
    tokens: int = 0
    prompt_tokens: int = 0
    conversation: str = ""
    side_call: bool = False


class Standing(msgspec.Struct, frozen=True, gc=False):
    """Reports how much of one limit is used.

    used: may exceed `maximum` when answers were longer than expected.
    left: what remains; never negative.
    resets: seconds until nothing is used, if nothing more is requested.
    """

    scope: str
    limit: str
    maximum: int
    used: int
    left: int
    resets: float


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Reports whether a request is admitted, and if not, which limit refuses it.

    day: the local day of the decision. The request belongs to it, also if it ends later.
    tokens: what is reserved; of a refused claim, what it would have needed.
    scope, limit, maximum, used: what refuses. If several do, the one with the longest wait.
    retry_after: seconds after which the same request may be admitted; 0 if it never is.
    satisfiable: False if the request exceeds the limit even when nothing else is used.
    may_queue: whether nothing but the caller's own concurrency refuses it.
    requests_standing, tokens_standing: the limit with the smallest remaining share, for
        headers. None if there is no such limit.
    budget_left: the fewest tokens that are left of any budget, after what is reserved. None
        without a budget of tokens.
    waited: seconds that the claim was in line.
    """

    admitted: bool
    day: str
    tokens: int = 0
    scope: str = ""
    limit: str = ""
    maximum: int = 0
    used: int = 0
    retry_after: float = 0.0
    satisfiable: bool = True
    may_queue: bool = False
    requests_standing: Standing | None = None
    tokens_standing: Standing | None = None
    budget_left: int | None = None
    waited: float = 0.0


class Seed(msgspec.Struct, frozen=True):
    """Tells what a scope has used before the gateway started.

    day, month: as `2026-11-28` and `2026-11`; figures of another period are ignored.
    five_hours, seven_days: unix seconds within a bucket (5 minutes, 1 hour), and its tokens.
    """

    scope: str
    day: str = ""
    day_requests: int = 0
    day_tokens: int = 0
    month: str = ""
    month_requests: int = 0
    month_tokens: int = 0
    five_hours: tuple[tuple[int, int], ...] = ()
    seven_days: tuple[tuple[int, int], ...] = ()
