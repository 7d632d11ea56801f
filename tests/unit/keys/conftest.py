"""Managers of keys on a database of their own, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.keys.changes import Actor, LimitValues, NewKey, NewTeam
from gateway.keys.manager import KeyManager
from gateway.keys.records import KeyRecord, TeamRecord
from tests.unit.keys.support import NOON

ROOT = Actor("local:root")
LEAD = Actor("lead", "192.0.2.7", "req-1", "leadleadlead")


class StoreClock:
    """The time in milliseconds since 1970; the test adds to it."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> StoreClock:
    return StoreClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "team.db"


@pytest.fixture
def open_manager(path: Path, clock: StoreClock) -> Iterator[Callable[[], KeyManager]]:
    opened: list[KeyManager] = []

    def open_one() -> KeyManager:
        opened.append(KeyManager(path, clock=clock))
        return opened[-1]

    yield open_one
    for manager in opened:
        manager.close()


@pytest.fixture
def manager(open_manager: Callable[[], KeyManager]) -> KeyManager:
    return open_manager()


@pytest.fixture
def web(manager: KeyManager) -> TeamRecord:
    return manager.add_team(ROOT, NewTeam(name="web", limits=LimitValues(concurrency=9)))


@pytest.fixture
def alice(manager: KeyManager) -> KeyRecord:
    return manager.add_key(ROOT, NewKey(name="alice")).record
