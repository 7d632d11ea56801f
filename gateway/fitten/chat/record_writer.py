"""Writes records of answers to files, beside the requests and never in their way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from gateway.fitten.tools.record import encode_record
from gateway.fitten.tools.recorder import AnswerRecorder
from gateway.generation.request import Generation, GenerationRequest
from gateway.redaction import Redactor, os_error_text
from gateway.store.record_files import RecordFolder

_log = structlog.get_logger("recorder")

_MOST_AT_ONCE = 8  # each may hold twice `recorder.MAX_TEXT` bytes
_BETWEEN_WARNINGS = 60.0  # seconds
_LONGEST_END = 3.0  # seconds that the end of the gateway waits for the disk


class RecordWriter:
    """Records answers for the keys that allow it; each record is written in a thread.

    redactor: masks the secrets in a record.
    """

    def __init__(self, folder: RecordFolder, redactor: Redactor) -> None:
        self._folder = folder
        self._redactor = redactor
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._next_warning = 0.0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Remove old records at the start; at the end, wait a short time for the last ones."""
        self._start(None)
        try:
            yield
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_LONGEST_END)
            for task in self._tasks:
                task.cancel()

    def recorder(
        self,
        generation: Generation,
        request: GenerationRequest,
        notation: str,
        block: str | None = None,
    ) -> AnswerRecorder | None:
        """Return a recorder for an answer; None if the key does not allow it.

        request: what Fitten is asked. notation: how the prompt asks for calls.
        block: the value in the marks of the hybrid notation.
        """
        principal = generation.principal
        if principal is None or not principal.record:
            return None
        return AnswerRecorder(
            request,
            self._submit,
            model=generation.model.id,
            key=principal.name,
            notation=notation,
            block=block,
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
        )

    def _submit(self, recorder: AnswerRecorder) -> None:
        if len(self._tasks) >= _MOST_AT_ONCE:
            self._warn("too many at once")
        else:
            self._start(recorder)

    def _start(self, recorder: AnswerRecorder | None) -> None:
        task = asyncio.create_task(self._run(recorder))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, recorder: AnswerRecorder | None) -> None:
        """Write a record, or only remove old ones; a failure is logged."""
        try:
            if recorder is None:
                await asyncio.to_thread(self._folder.remove_old)
            elif (written := await asyncio.to_thread(self._save, recorder)) is not None:
                file, reasons = written
                _log.info("answer_recorded", file=file, reasons=reasons)
        except OSError as error:
            self._warn(os_error_text(error))
        except Exception:  # the answer has gone out, and nobody else would hear of it
            _log.exception("bug")

    def _save(self, recorder: AnswerRecorder) -> tuple[str, list[str]] | None:
        """Write a record; return its file and the reasons. None if there is no reason."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = recorder.record(stamp, self._redactor)
        if record is None:
            return None
        return self._folder.save(encode_record(record)), record.reasons

    def _warn(self, reason: str) -> None:
        """Log that records are not written, once a minute at most."""
        self._failures += 1
        now = asyncio.get_running_loop().time()
        if now >= self._next_warning:
            self._next_warning = now + _BETWEEN_WARNINGS
            _log.warning("answer_not_recorded", reason=reason, count=self._failures)
            self._failures = 0
