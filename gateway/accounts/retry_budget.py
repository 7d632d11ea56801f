"""How many calls may be made beyond one for each request. No I/O, no clock."""

from __future__ import annotations

_MAX_BALANCE = 10.0  # repeats that calm times can save up for a bad moment


class RetryBudget:
    """Each request earns a share of a repeat, each repeat costs one.

    ratio: repeats for each request. One repeat is lent at the start, so that the very first
    failure can be hidden; it is paid back by the requests that follow. So from the moment
    that requests reach 1/ratio, all calls are at most (1 + ratio) times the requests. What is
    repeated with a renewed token does not count: a token expires once a day.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self._balance = 1.0 if ratio else 0.0
        self._debt = self._balance

    @property
    def left(self) -> bool:
        """Whether a repeat could be paid for."""
        return self._balance >= 1.0

    def earn(self) -> None:
        """A request has come."""
        if self._debt > 1e-9:
            self._debt -= self.ratio
        elif self._balance < _MAX_BALANCE:
            self._balance = min(self._balance + self.ratio, _MAX_BALANCE)

    def spend(self) -> bool:
        """Pay for a repeat; False when it must not be made."""
        if not self.left:
            return False
        self._balance -= 1.0
        return True
