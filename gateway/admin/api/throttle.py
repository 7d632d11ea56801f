"""Limits wrong admin keys by address. A right key passes all the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.trusted_proxies import address_group

_log = structlog.get_logger("admin")

_FAILURES = 10  # wrong keys from one address within _WINDOW
_WINDOW = 60.0  # seconds
_PAUSE = 300.0  # seconds in which further wrong keys get 429
_MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class _Failures:
    """Counts the wrong keys of one address.

    since: when the first of the window came. until: when the pause ends; 0.0 for no pause.
    """

    since: float
    count: int = 0
    until: float = 0.0


class LoginThrottle:
    """Counts wrong keys by address, an IPv6 address by its /64.

    Keys have 256 bits, so nobody finds one by trying. This protects the processor and the log.
    clock: returns a monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, _Failures] = OrderedDict()

    def failed(self, address: str) -> float:
        """Count a wrong key; return the seconds that the address has to wait, or 0.0.

        The address that failed least recently is forgotten first. The log has one line for a
        pause, however many wrong keys come meanwhile.
        """
        now, group = self._clock(), address_group(address)
        found = self._by_address.pop(group, None)
        if found is None or (now >= found.until and now - found.since > _WINDOW):
            found = _Failures(now)
        self._by_address[group] = found
        while len(self._by_address) > _MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        if now < found.until:
            return found.until - now
        found.count += 1
        if found.count <= _FAILURES:
            return 0.0
        found.since, found.count, found.until = now + _PAUSE, 0, now + _PAUSE
        _log.warning("admin_keys_refused", address=address, wait=round(_PAUSE))
        return _PAUSE
