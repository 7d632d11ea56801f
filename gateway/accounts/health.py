"""Decides from the outcomes of its calls whether an account may be used.

No I/O. Time comes from a clock that is passed in.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Literal

from gateway.accounts.prompt_digest import Digest
from gateway.errors import (
    AccountRefused,
    GatewayError,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)

HealthState = Literal["healthy", "cooling", "half_open", "dead"]

# What a call says about its account:
# good: the account was served. bad: the upstream failed, perhaps because of the prompt.
# unreachable: no connection could be opened, so the prompt is not the reason. limited: the
# upstream answered 429. refused: the upstream refused the account. unknown: the call says nothing
# about the account, for example because the client disconnected.
CallOutcome = Literal["good", "bad", "unreachable", "limited", "refused", "unknown"]

_WINDOW = 10.0  # seconds of calls from which the share of failures is computed
_MIN_CALLS = 20  # with fewer calls in the window, the share of failures is not used
_MAX_CALLS = 500  # calls that are remembered at most
_LIMITED_PAUSE = 1.0  # seconds of the first pause after a 429 without Retry-After
_REFUSED_PAUSE = 30.0  # seconds of the first pause after a refusal
_MAX_PAUSE = {"bad": 60.0, "limited": 60.0, "refused": 3600.0}  # seconds
_MAX_PROMPTS = 256  # prompts that failed and are remembered at most
_PROMPT_TTL = 600.0  # seconds in which a prompt that failed is not counted again


def outcome_of(error: object) -> CallOutcome:
    """Return what the error of a call says about its account; None is a complete answer."""
    if error is None:
        return "good"
    if isinstance(error, AccountRefused):
        return "refused"
    if isinstance(error, RateLimited):
        return "limited"
    if isinstance(error, UpstreamTimeout):
        return "bad"
    if isinstance(error, UpstreamError) and not isinstance(error, UpstreamUnauthorized):
        if error.elsewhere and error.upstream_status is None:
            return "unreachable"
        # Any other error refuses this request only: the account itself was served.
        return "bad" if error.retryable or error.elsewhere else "good"
    return "unknown"


class Health:
    """Tracks the state of one account: healthy, cooling, half open or dead.

    An account that pauses is cooling, or dead if the upstream refused it. After the pause it
    is half open: one call, the probe, tests it. Each failed probe doubles the pause.

    A 429 pauses for its `retry_after`, or else from 1 second up to 60 seconds. A refusal after
    a new login pauses from 30 seconds up to an hour.

    A prompt may be the reason why the upstream fails, and agents repeat their requests. So the
    failures of one prompt count once in ten minutes, and the prompt whose failure began the
    pause is never the probe.

    failures: the account pauses after this many failures in a row. It also pauses when more
        than half of the calls of 10 seconds failed, if there were at least 20. 0: failures
        never pause it.
    pause: seconds of the first pause after failures; the longest is 60 seconds.
    clock: returns monotonic seconds.
    """

    def __init__(self, *, failures: int, pause: float, clock: Callable[[], float]) -> None:
        self._failures = failures
        self._pauses = {"bad": pause, "limited": _LIMITED_PAUSE, "refused": _REFUSED_PAUSE}
        self._clock = clock
        self.reason: GatewayError | None = None
        # No failure is remembered: another good call changes nothing and need not be recorded.
        self.no_failures = True
        self._paused_until = -math.inf
        self._dead = False
        self._probing = False
        self._pauses_in_a_row = 0
        self._failures_in_a_row = 0
        self._calls: deque[tuple[float, bool]] = deque(maxlen=_MAX_CALLS)  # time, failed
        self._failed_prompts: OrderedDict[bytes, float] = OrderedDict()  # digest, time
        self._pause_prompt: bytes | None = None  # whose failure began the pause

    def copy_settings(self, other: Health) -> None:
        """Use the limits and pauses of another health object from now on."""
        self._failures, self._pauses = other._failures, other._pauses

    @property
    def state(self) -> HealthState:
        if self.reason is None:
            return "healthy"
        if self._clock() >= self._paused_until:
            return "half_open"
        return "dead" if self._dead else "cooling"

    def now(self) -> float:
        """Return the time of the clock, in seconds."""
        return self._clock()

    def allow_probe(self) -> None:
        """End a pause early: the next call is the probe that tests the account."""
        self._paused_until = min(self._paused_until, self._clock())

    def wait(self) -> float:
        """Return the seconds until the pause ends; 0 if there is none or it is over."""
        return 0.0 if self.reason is None else max(0.0, self._paused_until - self._clock())

    def admits(self, prompt: Digest | None = None) -> bool:
        """Return whether a call with this prompt may begin now."""
        state = self.state
        if state != "half_open":
            return state == "healthy"
        failed = self._pause_prompt
        return not self._probing and (failed is None or prompt is None or prompt.value != failed)

    def begin(self) -> bool:
        """Record that a call begins; return whether it is the probe of a half-open account."""
        if self.reason is None:
            return False
        self._probing = True
        return True

    def answered(self) -> None:
        """Record that the upstream began to answer the probe: the account is healthy again.

        The next failure pauses it at once, since the answer that has begun may still stop.
        """
        self.reason, self._dead, self._probing = None, False, False
        self._failures_in_a_row = max(0, self._failures - 1)
        self._calls.clear()
        self.no_failures = False

    def end(
        self,
        outcome: CallOutcome,
        *,
        probe: bool,
        error: BaseException | None = None,
        prompt: Digest | None = None,
    ) -> None:
        """Record the outcome of a call.

        A call that began before a pause may end during the pause. It can lengthen the pause
        (by a 429), but it neither ends the pause nor counts as another failure.

        probe: whether the call is a probe that was not answered yet.
        error: the reason of a pause, if the outcome causes one.
        prompt: of the call; None if every failure counts.
        """
        if probe:
            self._probing = False
        if outcome == "limited" or outcome == "refused":
            self._pause(outcome, error, probe=probe)
        elif outcome == "unreachable":
            self._fail(error, probe=probe)
        elif outcome == "bad":
            if prompt is None or not self._failed_before(prompt.value) or probe:
                self._fail(error, probe=probe, prompt=prompt)
        elif outcome == "good":
            if self._calls:  # without a remembered failure there is no share to compute
                self._record(bad=False)
            if probe or self.reason is None:
                self.reason, self._dead = None, False
                self._pauses_in_a_row = self._failures_in_a_row = 0
        self.no_failures = self.reason is None and not self._failures_in_a_row and not self._calls

    def has_failed(self, prompt: Digest) -> bool:
        """Return whether this prompt failed in the last ten minutes."""
        since = self._failed_prompts.get(prompt.value)
        return since is not None and self._clock() - since < _PROMPT_TTL

    def forgive(self, prompt: Digest) -> None:
        """Take back what the failure of this prompt caused: it is the reason, not the account."""
        self._failures_in_a_row = max(0, self._failures_in_a_row - 1)
        if self._calls and self._calls[-1][1]:
            self._calls.pop()
        if self._pause_prompt == prompt.value:
            self.reason, self._pause_prompt, self._pauses_in_a_row = None, None, 0
        self.no_failures = self.reason is None and not self._failures_in_a_row and not self._calls

    def _failed_before(self, prompt: bytes) -> bool:
        """Remember that a prompt failed; return whether it had failed recently."""
        now, prompts = self._clock(), self._failed_prompts
        while prompts and (
            len(prompts) >= _MAX_PROMPTS or now - next(iter(prompts.values())) >= _PROMPT_TTL
        ):
            prompts.popitem(last=False)
        if prompt in prompts:
            return True
        prompts[prompt] = now
        return False

    def _fail(
        self, error: BaseException | None, *, probe: bool, prompt: Digest | None = None
    ) -> None:
        self._record(bad=True)
        self._failures_in_a_row += 1
        too_many = self._failures_in_a_row >= self._failures or self._mostly_bad()
        if probe or (self._failures and too_many):
            paused = self.reason is not None
            self._pause("bad", error, probe=probe)
            if probe or not paused:
                self._pause_prompt = None if prompt is None else prompt.value

    def _pause(
        self,
        outcome: Literal["bad", "limited", "refused"],
        error: BaseException | None,
        *,
        probe: bool,
    ) -> None:
        reason = error if isinstance(error, GatewayError) else None
        retry_after = reason.retry_after if reason and outcome == "limited" else None
        now = self._clock()
        if self.reason is None or probe:
            seconds = self._pauses[outcome] * 2.0 ** min(self._pauses_in_a_row, 16)
            self._pauses_in_a_row += 1
            self._paused_until = now + (retry_after or min(seconds, _MAX_PAUSE[outcome]))
            self._dead = outcome == "refused"
            self._pause_prompt = None
            self.reason = reason or UpstreamError("Fitten fails at the moment.")
            self._failures_in_a_row = 0
            self._calls.clear()
        elif retry_after:
            self._paused_until = max(self._paused_until, now + retry_after)

    def _record(self, *, bad: bool) -> None:
        now = self._clock()
        while self._calls and self._calls[0][0] < now - _WINDOW:
            self._calls.popleft()
        self._calls.append((now, bad))

    def _mostly_bad(self) -> bool:
        bad = sum(was_bad for _, was_bad in self._calls)
        return len(self._calls) >= _MIN_CALLS and 2 * bad > len(self._calls)
