"""Limits how many upstream calls are repeated. No I/O, no clock."""

from __future__ import annotations

_MAX_BALANCE = 10.0  # retries that can be saved up at most


class RetryBudget:
    """Limits retries to a share of the requests: a request adds a share, a retry costs 1.

    The budget starts with a loan of one retry, so that the very first failure can be hidden.
    The requests that follow pay it back. So once there were 1/ratio requests, there are at
    most (1 + ratio) calls per request. A call that is repeated with a renewed token does not
    count: a token expires once a day.

    ratio: retries for each request, on average. 0 allows none.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self._balance = 1.0 if ratio else 0.0
        self._debt = self._balance

    @property
    def allows_retry(self) -> bool:
        """Return whether the budget allows a retry now."""
        return self._balance >= 1.0

    def earn(self) -> None:
        """Add the share of one request."""
        if self._debt > 1e-9:
            self._debt -= self.ratio
        elif self._balance < _MAX_BALANCE:
            self._balance = min(self._balance + self.ratio, _MAX_BALANCE)

    def spend(self) -> bool:
        """Take one retry from the budget; return False if the retry is not allowed."""
        if not self.allows_retry:
            return False
        self._balance -= 1.0
        return True
