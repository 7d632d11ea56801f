"""Implements a bounded queue that serves its keys in turn. No I/O."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Queues items by key and serves the keys in turn (round robin).

    A key with many items gets no more turns than a key with one item.

    length: the maximum number of items. When the queue is full and a key with fewer items
        adds one, the newest item of the key with most items is removed. So no key can keep
        the others out.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._queues: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self.size = 0  # items of all keys

    def push(self, key: Hashable, item: T) -> T | None:
        """Add an item. Return the item that found no room (another or this one), or None."""
        displaced = None
        if self.size >= self.length:
            longest = max(self._queues, key=lambda k: len(self._queues[k]), default=None)
            own = len(self._queues.get(key, ()))
            if longest is None or len(self._queues[longest]) <= own + 1:
                return item
            displaced = self._queues[longest].pop()
            self.size -= 1
        self._queues.setdefault(key, deque()).append(item)
        self.size += 1
        return displaced

    def pop(self) -> tuple[Hashable, T]:
        """Remove and return the next key and item. Raises IndexError when the queue is empty."""
        if not self._queues:
            raise IndexError("the queue is empty")
        key, queue = next(iter(self._queues.items()))
        item = queue.popleft()
        self.size -= 1
        if queue:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return key, item

    def remove(self, key: Hashable, item: T) -> bool:
        """Remove an item of this key; return False if the item is not in the queue."""
        queue = self._queues.get(key)
        if queue is None or item not in queue:
            return False
        queue.remove(item)
        self.size -= 1
        if not queue:
            del self._queues[key]
        return True

    def clear(self) -> Iterator[tuple[Hashable, T]]:
        """Remove all items, and yield each with its key in its turn."""
        while self._queues:
            yield self.pop()
