"""Records are written beside the requests: few at once, and a failure is one line a minute."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.fitten.chat import record_writer
from gateway.fitten.chat.record_writer import RecordWriter
from gateway.fitten.model_catalog import DEFAULT_MODEL
from gateway.fitten.tools.record import decode_record
from gateway.generation.outcome import Outcome
from gateway.generation.request import Generation, GenerationRequest, Message
from gateway.principal import Principal
from gateway.redaction import Redactor
from gateway.store.record_files import RecordFolder
from tests import virtualtime

REQUEST = GenerationRequest((Message("user", "hi"),))


@pytest.fixture
def log_events() -> Iterator[list[Any]]:
    """Return every log event, as a dictionary."""
    with capture_logs() as events:
        yield events


class SlowFolder(RecordFolder):
    """A folder on a disk that hangs until `go` is set, and then may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(Path("/none"), days=7, max_bytes=1000)
        self.go = threading.Event()
        self.written: list[bytes] = []
        self._error = error

    def save(self, raw: bytes) -> str:
        """Take a record in the thread of the writer."""
        self.go.wait(10)
        if self._error is not None:
            raise self._error
        self.written.append(raw)
        return "a-file"

    def remove_old(self) -> None:
        """Do nothing."""


def generation_of(principal: Principal | None) -> Generation:
    return Generation(REQUEST, DEFAULT_MODEL, Outcome(), principal)


def record_empty_answer(writer: RecordWriter) -> None:
    principal = Principal(id="a1", name="alice", record=True)
    recorder = writer.recorder(generation_of(principal), REQUEST, "json")
    assert recorder is not None
    recorder.close(finish_reason="stop", stopped=False, error=None)


@pytest.mark.parametrize("principal", [None, Principal(id="a1", name="alice")])
async def test_nobody_is_recorded_unasked(principal: Principal | None) -> None:
    writer = RecordWriter(SlowFolder(), Redactor())
    assert writer.recorder(generation_of(principal), REQUEST, "json") is None


async def test_a_disk_that_hangs_holds_neither_requests_nor_memory(log_events: list[Any]) -> None:
    folder = SlowFolder()
    writer = RecordWriter(folder, Redactor())
    async with writer.opened():
        for _ in range(20):
            record_empty_answer(writer)
        folder.go.set()
    assert 0 < len(folder.written) <= 8
    assert {decode_record(raw).key for raw in folder.written} == {"alice"}
    (line,) = [event for event in log_events if event["event"] == "answer_not_recorded"]
    assert line["reason"] == "too many at once"


async def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_writer, "_LONGEST_END", 0.05)
    folder = SlowFolder()
    writer = RecordWriter(folder, Redactor())
    try:
        async with asyncio.timeout(5), writer.opened():
            record_empty_answer(writer)
        assert folder.written == []
    finally:
        folder.go.set()


async def test_a_bug_in_the_recorder_is_logged(log_events: list[Any]) -> None:
    folder = SlowFolder(ValueError("a bug"))
    folder.go.set()
    writer = RecordWriter(folder, Redactor())
    async with writer.opened():
        record_empty_answer(writer)
    assert [event["event"] for event in log_events] == ["bug"]


def test_failures_are_counted_in_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, log_events: list[Any]
) -> None:
    async def fail_for_three_minutes() -> None:
        writer = RecordWriter(SlowFolder(), Redactor())
        monkeypatch.setattr(record_writer, "_MOST_AT_ONCE", 0)
        for _ in range(18):
            record_empty_answer(writer)
            await asyncio.sleep(10)

    virtualtime.run(fail_for_three_minutes())
    assert [(line["event"], line["count"]) for line in log_events] == [
        ("answer_not_recorded", 1),
        ("answer_not_recorded", 6),
        ("answer_not_recorded", 6),
    ]
