"""The queue before the pool: bounded, in turn by key."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.fair_queue import FairQueue


def filled(length: int, *pushed: tuple[str, int]) -> FairQueue[str]:
    """Return a queue with this number of items of each key, in this order."""
    queue: FairQueue[str] = FairQueue(length)
    for key, count in pushed:
        for number in range(count):
            queue.push(key, f"{key}{number}")
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    return [item for _, item in queue.clear()]


def test_items_of_one_key_leave_in_the_order_they_came() -> None:
    assert drained(filled(9, ("a", 4))) == ["a0", "a1", "a2", "a3"]


def test_keys_take_turns() -> None:
    queue = filled(20, ("batch", 5), ("alice", 2), ("bob", 1))
    assert drained(queue) == [
        *("batch0", "alice0", "bob0"),
        *("batch1", "alice1", "batch2", "batch3", "batch4"),
    ]


def test_one_key_cannot_keep_the_others_out() -> None:
    queue = filled(4, ("batch", 4))
    assert queue.push("batch", "too many") == "too many"
    assert queue.push("alice", "alice0") == "batch3"
    assert queue.push("alice", "alice1") == "batch2"
    assert queue.push("alice", "alice2") == "alice2", "it would have more than its part"
    assert queue.push("bob", "bob0") == "batch1"
    assert queue.size == 4


def test_a_queue_of_length_zero_takes_nothing() -> None:
    assert FairQueue[str](0).push("a", "item") == "item"


def test_removed_items_are_not_served() -> None:
    queue = filled(9, ("a", 2), ("b", 1))
    assert queue.remove("a", "a0")
    assert not queue.remove("a", "a0")
    assert not queue.remove("nobody", "a1")
    assert drained(queue) == ["a1", "b0"]


def test_an_empty_queue_has_nothing_to_give() -> None:
    with pytest.raises(IndexError):
        FairQueue[str](3).pop()


@given(
    st.lists(st.one_of(st.sampled_from("abcd"), st.none(), st.integers(0, 30))), st.integers(0, 6)
)
def test_no_item_is_lost_or_served_twice_and_the_length_is_kept(
    operations: list[object], length: int
) -> None:
    queue: FairQueue[int] = FairQueue(length)
    waiting: dict[int, str] = {}
    for number, operation in enumerate(operations):
        if isinstance(operation, str):
            waiting[number] = operation
            displaced = queue.push(operation, number)
            if displaced is not None:
                del waiting[displaced]
        elif operation is None and waiting:
            del waiting[queue.pop()[1]]
        elif isinstance(operation, int) and operation in waiting:
            assert queue.remove(waiting.pop(operation), operation)
        assert queue.size == len(waiting) <= length
    assert sorted(item for _, item in queue.clear()) == sorted(waiting)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 20), min_size=1))
def test_every_key_is_served_once_before_any_is_served_twice_more(counts: dict[str, int]) -> None:
    queue = filled(1000, *counts.items())
    served: Counter[str] = Counter()
    while queue.size:
        key, item = queue.pop()
        assert item.startswith(str(key))
        served[str(key)] += 1
        most = max(served.values())
        assert all(served[key] >= min(counts[key], most - 1) for key in counts)
