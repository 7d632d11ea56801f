"""A bounded queue in which callers take turns. No I/O."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in line, per key in turn: who puts in many gets no more turns than who puts in one.

    length: the most items. When it is reached, the newest item of the key with most of them
    gives way to a key with fewer, so that nobody can keep the others out.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._lines: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self.size = 0  # the items in line

    def push(self, key: Hashable, item: T) -> T | None:
        """Put an item in line; returns what has no place, another item or this one."""
        displaced = None
        if self.size >= self.length:
            longest = max(self._lines, key=lambda k: len(self._lines[k]), default=None)
            mine = len(self._lines.get(key, ()))
            if longest is None or len(self._lines[longest]) <= mine + 1:
                return item
            displaced = self._lines[longest].pop()
            self.size -= 1
        self._lines.setdefault(key, deque()).append(item)
        self.size += 1
        return displaced

    def pop(self) -> T:
        """The item whose turn it is. Raises IndexError when there is none."""
        if not self._lines:
            raise IndexError("nothing is in line")
        key, line = next(iter(self._lines.items()))
        item = line.popleft()
        self.size -= 1
        if line:
            self._lines.move_to_end(key)
        else:
            del self._lines[key]
        return item

    def remove(self, key: Hashable, item: T) -> bool:
        """Take an item out of line; False when it was in it no more."""
        line = self._lines.get(key)
        if line is None or item not in line:
            return False
        line.remove(item)
        self.size -= 1
        if not line:
            del self._lines[key]
        return True

    def clear(self) -> Iterator[T]:
        """All items, taken out one by one in turn."""
        while self._lines:
            yield self.pop()
