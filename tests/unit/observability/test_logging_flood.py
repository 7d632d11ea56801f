"""A library that repeats a message is logged a few times, and again later."""

from __future__ import annotations

import logging

from gateway.observability.logging import FloodFilter

EMFILE = "socket.accept() out of system resource"


def record(name: str, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, text, (), None)


def test_a_flood_of_one_kind_is_cut_and_others_are_logged() -> None:
    now = 0.0
    flood = FloodFilter(lambda: now)
    heard = [flood.filter(record("asyncio", EMFILE)) for _ in range(5000)]
    assert heard.count(True) == 5
    assert heard[0]
    assert flood.filter(record("asyncio", "something else"))
    assert flood.filter(record("other", EMFILE))
    now = 10.0
    assert flood.filter(record("asyncio", EMFILE))


def test_endless_kinds_are_not_kept() -> None:
    flood = FloodFilter(lambda: 0.0)
    assert all(flood.filter(record("asyncio", f"kind {i}")) for i in range(10_000))
    assert len(flood._kinds) <= 256
