"""Estimates how many tokens an answer will have, from those that came before."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict, deque

from gateway.limits.names import Kind

_CAP = 4096  # tokens; a model's maximum would let a small budget serve two requests
_START: dict[Kind, int] = {"chat": 500, "completion": 64, "listing": 0}
_ENOUGH = 8  # answers, before what they say is used
_RECENT = 64  # answers that count
_PERCENTILE = 0.8


class _Lengths:
    """Holds the lengths of the latest answers, in the order they came and by size."""

    __slots__ = ("_by_size", "_latest")

    def __init__(self) -> None:
        self._latest: deque[int] = deque()
        self._by_size: list[int] = []

    def add(self, tokens: int) -> None:
        self._latest.append(tokens)
        insort(self._by_size, tokens)
        if len(self._latest) > _RECENT:
            del self._by_size[bisect_left(self._by_size, self._latest.popleft())]

    def percentile(self) -> int | None:
        """Return a length that four of five answers do not exceed; None if too few came."""
        count = len(self._by_size)
        return None if count < _ENOUGH else self._by_size[math.ceil(count * _PERCENTILE) - 1]


class Expectation:
    """Tells how long an answer will probably be, by model and route.

    capacity: how many pairs of model and route are remembered; the one that was not used for
        longest is forgotten.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = capacity
        self._pairs: OrderedDict[tuple[str, str], _Lengths] = OrderedDict()

    def expected(
        self, model: str, route: str, max_tokens: int | None = None, *, kind: Kind = "chat"
    ) -> int:
        """Return the tokens to reserve for an answer, never more than `max_tokens`."""
        lengths = self._pairs.get((model, route))
        learnt = None if lengths is None else lengths.percentile()
        expected = min(_CAP, _START[kind] if learnt is None else learnt)
        return expected if max_tokens is None else max(0, min(expected, max_tokens))

    def observe(self, model: str, route: str, tokens: int) -> None:
        """Record the length of an answer that came to its end."""
        pair = model, route
        lengths = self._pairs.get(pair)
        if lengths is None:
            while len(self._pairs) >= self._capacity:
                self._pairs.popitem(last=False)
            lengths = self._pairs[pair] = _Lengths()
        else:
            self._pairs.move_to_end(pair)
        lengths.add(max(0, tokens))
