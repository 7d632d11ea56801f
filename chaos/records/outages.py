"""Finds in the gateway's log when each account was out of use."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

_CLOCK = 0.3  # seconds by which a line may be later than what it reports


class Outages:
    """Holds the times in which accounts were cooling, dead or half open.

    accounts: all there are. now: pairs of the wall clock and the monotonic one.
    reasons: how often an account went out of use, by the code of the error.
    """

    def __init__(
        self,
        lines: Iterable[dict[str, Any]],
        accounts: Sequence[str],
        now: tuple[float, float] | None = None,
    ) -> None:
        wall, monotonic = now or (time.time(), time.monotonic())
        self._times: dict[str, list[list[float]]] = {name: [] for name in accounts}
        self.reasons: Counter[str] = Counter()
        self.recovered = 0
        for line in lines:
            times = self._times.get(line.get("account", ""))
            if times is None or "timestamp" not in line:
                continue
            at = datetime.fromisoformat(line["timestamp"]).timestamp() - wall + monotonic
            out = bool(times) and times[-1][1] == math.inf
            if line["event"] in ("account_cooling", "account_dead"):
                self.reasons[line["code"]] += 1
                if not out:
                    times.append([at, math.inf])
            elif line["event"] == "account_recovered" and out:
                self.recovered += 1
                times[-1][1] = at

    @property
    def lasting(self) -> list[str]:
        """Return the accounts that never came back."""
        return [name for name, times in self._times.items() if times and times[-1][1] == math.inf]

    def most_out(self, begin: float, end: float) -> float:
        """Return the largest share of the accounts, 0 to 1, that was out of use at one moment.

        The time is monotonic.
        """
        begin, end = begin - _CLOCK, end + _CLOCK
        starts = (times[0] for account in self._times.values() for times in account)
        moments = [begin, *(start for start in starts if begin <= start <= end)]
        return max(map(self._out_at, moments)) / len(self._times)

    def _out_at(self, moment: float) -> int:
        return sum(
            any(begin - _CLOCK <= moment <= end + _CLOCK for begin, end in times)
            for times in self._times.values()
        )
