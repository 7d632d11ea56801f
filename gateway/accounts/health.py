"""Whether an account is fit to be used, by what came of its calls. No I/O, no clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Literal

from gateway.errors import (
    AccountRefused,
    GatewayError,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)

HealthState = Literal["healthy", "cooling", "half_open", "dead"]

# What a call says about its account. "bad" is a failure of the upstream, "unknown" the end
# of a call that says nothing, because its caller left.
CallOutcome = Literal["good", "bad", "limited", "refused", "unknown"]

_WINDOW = 10.0  # seconds in which a share of failures is looked at
_MIN_CALLS = 20  # calls of the window below which their share says nothing
_MAX_CALLS = 500
_LIMITED_PAUSE = 1.0  # the first pause after a 429 that names none
_REFUSED_PAUSE = 30.0
_MAX_PAUSE = {"bad": 60.0, "limited": 60.0, "refused": 3600.0}


def outcome_of(error: object) -> CallOutcome:
    """What a call says about its account by its error; None stands for a whole answer."""
    if error is None:
        return "good"
    if isinstance(error, AccountRefused):
        return "refused"
    if isinstance(error, RateLimited):
        return "limited"
    if isinstance(error, UpstreamTimeout):
        return "bad"
    if isinstance(error, UpstreamError) and not isinstance(error, UpstreamUnauthorized):
        # The others are refusals of one request: the account itself was served.
        return "bad" if error.retryable or error.elsewhere else "good"
    return "unknown"


class Health:
    """One account's state: healthy, cooling, half open (one call may try it), or dead.

    failures: after so many in a row the account pauses; also when more than half of at
        least 20 calls of ten seconds failed. 0 for never.
    pause: seconds of the first pause after failures; each probe that fails doubles it, up
        to a minute. 429 pauses for as long as it says, else from a second up to a minute;
        refusal after a new login from half a minute up to an hour.
    clock: monotonic seconds.
    """

    def __init__(self, *, failures: int, pause: float, clock: Callable[[], float]) -> None:
        self._failures = failures
        self._pauses = {"bad": pause, "limited": _LIMITED_PAUSE, "refused": _REFUSED_PAUSE}
        self._clock = clock
        self.reason: GatewayError | None = None
        self.calm = True  # all is well, so that another good call would change nothing
        self._until = -math.inf
        self._dead = False
        self._probing = False
        self._paused = 0  # times in a row
        self._in_a_row = 0
        self._calls: deque[tuple[float, bool]] = deque(maxlen=_MAX_CALLS)

    def adopt(self, other: Health) -> None:
        """Judge by the settings of another from now on."""
        self._failures, self._pauses = other._failures, other._pauses

    @property
    def state(self) -> HealthState:
        if self.reason is None:
            return "healthy"
        if self._clock() >= self._until:
            return "half_open"
        return "dead" if self._dead else "cooling"

    def wait(self) -> float:
        """Seconds until a call may be made; 0 when one may, or when a probe is on its way."""
        return 0.0 if self.reason is None else max(0.0, self._until - self._clock())

    def admits(self) -> bool:
        """Whether a call may begin now."""
        state = self.state
        return state == "healthy" or (state == "half_open" and not self._probing)

    def begin(self) -> bool:
        """A call begins; says whether it is the probe of a half open account."""
        if self.reason is None:
            return False
        self._probing = True
        return True

    def answered(self) -> None:
        """The probe was taken up. The account is in use again, but on trial: the next
        failure ends that, since an answer may still fall silent."""
        self.reason, self._dead, self._probing = None, False, False
        self._in_a_row = max(0, self._failures - 1)
        self._calls.clear()
        self.calm = False

    def end(self, outcome: CallOutcome, *, probe: bool, error: BaseException | None = None) -> None:
        """A call is over. probe: whether it still is the probe.

        What was begun before a pause ends in it: such a call can lengthen the pause, as a
        429 does, but neither end it nor count as another failure.
        """
        if probe:
            self._probing = False
        if outcome in ("limited", "refused"):
            self._pause(outcome, error, probe=probe)
        elif outcome == "bad":
            self._record(bad=True)
            self._in_a_row += 1
            too_many = self._in_a_row >= self._failures or self._mostly_bad()
            if probe or (self._failures and too_many):
                self._pause("bad", error, probe=probe)
        elif outcome == "good":
            if self._calls:  # as long as nothing fails there is nothing to count
                self._record(bad=False)
            if probe or self.reason is None:
                self.reason, self._dead, self._paused, self._in_a_row = None, False, 0, 0
        self.calm = self.reason is None and not self._in_a_row and not self._calls

    def _pause(self, outcome: CallOutcome, error: BaseException | None, *, probe: bool) -> None:
        known = error if isinstance(error, GatewayError) else None
        named = known.retry_after if known and outcome == "limited" else None
        now = self._clock()
        if self.reason is None or probe:
            seconds = self._pauses[outcome] * 2.0 ** min(self._paused, 16)
            self._paused += 1
            self._until = now + (named or min(seconds, _MAX_PAUSE[outcome]))
            self._dead = outcome == "refused"
            self.reason = known or UpstreamError("Fitten fails at the moment.")
            self._in_a_row = 0
            self._calls.clear()
        elif named:
            self._until = max(self._until, now + named)

    def _record(self, *, bad: bool) -> None:
        now = self._clock()
        while self._calls and self._calls[0][0] < now - _WINDOW:
            self._calls.popleft()
        self._calls.append((now, bad))

    def _mostly_bad(self) -> bool:
        bad = sum(was_bad for _, was_bad in self._calls)
        return len(self._calls) >= _MIN_CALLS and 2 * bad > len(self._calls)
