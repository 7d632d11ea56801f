"""Ids are short, random, and can stand in a key, a URL and a file's name."""

from __future__ import annotations

import re

from gateway.store.ids import new_id


def test_an_id_has_twelve_small_letters_and_digits() -> None:
    assert re.fullmatch("[a-z2-7]{12}", new_id())


def test_no_id_comes_twice() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
