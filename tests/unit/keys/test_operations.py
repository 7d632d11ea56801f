"""A repeat is recognised by who asks, by the key that was chosen and by what is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.keys.changes import Actor, NewKey
from gateway.keys.errors import ChangeConflict, InvalidValue
from gateway.keys.operations import KEPT_MS, OperationLog
from gateway.store.database import connect_writer
from gateway.store.migrations import migrate
from tests.unit.keys.conftest import LEAD, ROOT
from tests.unit.keys.support import NOON

NEW = NewKey(name="alice")


@pytest.fixture
def log(path: Path) -> Iterator[OperationLog]:
    with contextlib.closing(connect_writer(path)) as connection:
        migrate(connection, path, now=NOON)
        yield OperationLog(connection)


def test_a_repeat_has_the_result_of_the_first_time_for_a_day(log: OperationLog) -> None:
    assert log.result(ROOT, "k", NEW, NOON) is None
    log.remember(ROOT, "k", NEW, "id-1", NOON)
    assert log.result(ROOT, "k", NewKey(name="alice"), NOON + KEPT_MS - 1) == "id-1"
    assert log.result(ROOT, "k", NEW, NOON + KEPT_MS) is None
    assert log.result(ROOT, "other", NEW, NOON) is None
    log.remember(ROOT, "k", NEW, "id-2", NOON + KEPT_MS)
    assert log.result(ROOT, "k", NEW, NOON + KEPT_MS) == "id-2"
    log.delete_old(NOON + 2 * KEPT_MS)
    assert log.result(ROOT, "k", NEW, NOON + KEPT_MS) is None


def test_another_request_under_the_same_key_is_a_mistake(log: OperationLog) -> None:
    log.remember(ROOT, "k", NEW, "id-1", NOON)
    for other in (NewKey(name="bob"), msgspec.structs.replace(NEW, note="x"), ("rotate", "a", 0)):
        with pytest.raises(ChangeConflict) as refused:
            log.result(ROOT, "k", other, NOON)
        assert refused.value.code == "idempotency_conflict"


def test_an_admin_key_is_the_same_under_another_name(log: OperationLog) -> None:
    log.remember(LEAD, "k", NEW, "id-1", NOON)
    assert log.result(Actor("renamed", key_id=LEAD.key_id), "k", NEW, NOON) == "id-1"
    assert log.result(Actor(LEAD.name), "k", NEW, NOON) is None


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "ключ", "\udc80"])
def test_a_bad_key_is_refused(log: OperationLog, key: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        log.result(ROOT, key, NEW, NOON)
    assert refused.value.param == "Idempotency-Key"
