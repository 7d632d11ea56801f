"""Fails a test that waits for ever, by its name and where it waits; for every environment.

pytest-timeout raises its error where a signal finds the program. While uvloop, or a callback of
asyncio, runs, the loop takes that error for one of a callback, and the test waits on.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

_BEFORE = 10.0  # seconds before pytest-timeout, which is left for what does not use a loop


def limit_waits(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test that is a coroutine a limit of its own: a hook of pytest."""
    usual = float(config.getini("timeout"))
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            marker = item.get_closest_marker("timeout")
            seconds = float(marker.args[0]) if marker and marker.args else usual
            if not hasattr(item.obj, "limited") and seconds > _BEFORE:
                item.obj = limited(item.obj, seconds - _BEFORE)


def limited(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Any]:
    """Return a test that fails with TimeoutError if it takes longer."""

    @functools.wraps(test)
    async def run(*arguments: Any, **keywords: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*arguments, **keywords)

    run.limited = seconds  # type: ignore[attr-defined]
    return run
