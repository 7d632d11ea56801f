from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.api.pages import page_of
from gateway.keys.errors import InvalidValue

PLACES = st.sets(st.tuples(st.text(max_size=3), st.text(max_size=2)), max_size=12)


@given(PLACES, st.integers(1, 5))
def test_pages_together_are_the_sorted_list(places: set[tuple[str, str]], limit: int) -> None:
    found: list[tuple[str, str]] = []
    cursor = None
    while True:
        page, cursor = page_of(places, lambda place: place, cursor, limit)
        found += page
        if cursor is None:
            break
        assert len(page) == limit
    assert found == sorted(places)


def test_an_item_that_comes_or_goes_between_pages_loses_no_other() -> None:
    items = [("a", ""), ("b", ""), ("c", ""), ("d", "")]
    first, cursor = page_of(items, lambda place: place, None, 2)
    later = [("a2", ""), ("c", ""), ("d", "")]
    second, end = page_of(later, lambda place: place, cursor, 2)
    assert (first, second, end) == (items[:2], items[2:], None)


@pytest.mark.parametrize("cursor", ["", "x", "é", "bnVsbA", "WyJhIl0", "🙂", "A" * 5000])
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidValue):
        page_of([("a", "")], lambda place: place, cursor, 1)
