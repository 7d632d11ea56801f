"""Renders the verdicts of a meter as errors and headers for the caller."""

from __future__ import annotations

import math
import time
from datetime import tzinfo

from multidict import CIMultiDict

from gateway.errors import ConcurrencyExceeded, GatewayError, QuotaExceeded, RateLimited
from gateway.limits.claims import Standing, Verdict
from gateway.limits.names import BUDGET_NAMES
from gateway.limits.periods import local_minute
from gateway.principal import Principal


def refusal(verdict: Verdict, zone: tzinfo, principal: Principal | None = None) -> GatewayError:
    """Return the error of a request that was refused: which limit, whose, and when to retry."""
    scope = _shown_scope(named_scope(verdict.scope, principal))
    limit = verdict.limit.replace("_", " ")
    if not verdict.satisfiable:
        if not verdict.maximum:
            return RateLimited(f"The limit of {scope} is 0 {limit}.", retryable=False)
        return RateLimited(
            f"The request needs about {verdict.tokens} tokens, and the limit of {scope} is "
            f"{verdict.maximum} {limit}. Make it shorter.",
            retryable=False,
        )
    if verdict.limit in BUDGET_NAMES:
        when = local_minute(time.time() + verdict.retry_after + 59, zone)
        return QuotaExceeded(
            f"The budget of {scope} is used up: {verdict.used} of {verdict.maximum} {limit}. "
            f"Try again at {when} ({zone})."
        )
    if verdict.limit == "concurrency":
        wait = max(1.0, verdict.retry_after)  # nobody knows when a request will end
        return ConcurrencyExceeded(
            f"The limit of {scope} is {verdict.maximum} requests at once. "
            f"Please try again in {_tenths(wait)}s.",
            retry_after=wait,
        )
    wait = max(0.001, verdict.retry_after)
    return RateLimited(
        f"Rate limit reached for {scope}: {verdict.maximum} {limit}. "
        f"Please try again in {_tenths(wait)}s.",
        retry_after=wait,
    )


def named_scope(scope: str, principal: Principal | None) -> str:
    """Return a scope with the name of the sender or its team, where limits count by an id."""
    if principal is not None and principal.key_id:
        if scope == f"key {principal.key_id}":
            return f"key {principal.name}"
        if scope == f"team {principal.team_id}":
            return f"team {principal.team}"
    return scope


def add_limit_headers(headers: CIMultiDict[str], verdict: Verdict) -> None:
    """Add what is left of the tightest limits of requests and of tokens, by OpenAI's names.

    With a budget of tokens, add what is left of it too.
    """
    if verdict.requests_standing is not None:
        _add(headers, "requests", verdict.requests_standing)
    if verdict.tokens_standing is not None:
        _add(headers, "tokens", verdict.tokens_standing)
        if verdict.budget_left is not None:
            headers["x-fitten-budget-remaining-tokens"] = str(verdict.budget_left)


def _add(headers: CIMultiDict[str], what: str, standing: Standing) -> None:
    headers[f"x-ratelimit-limit-{what}"] = str(standing.maximum)
    headers[f"x-ratelimit-remaining-{what}"] = str(standing.left)
    headers[f"x-ratelimit-reset-{what}"] = duration(standing.resets)


def duration(seconds: float) -> str:
    """Format seconds as in OpenAI's rate-limit headers: `120ms`, `1.5s`, `6m0s`, `3h0m0s`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{max(0, milliseconds)}ms"
    minutes, rest = divmod(math.ceil(seconds * 10) / 10, 60)
    if not minutes:
        return f"{rest:g}s"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h{minutes}m{rest:g}s" if hours else f"{minutes}m{rest:g}s"


def _shown_scope(scope: str) -> str:
    kind, _, name = scope.partition(" ")
    if kind == "address":
        return "this address"
    return f"{kind} {name}" if name else "the gateway"


def _tenths(seconds: float) -> str:
    return f"{max(0.1, math.ceil(seconds * 10) / 10):g}"
