"""Records of answers to read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.fitten.tools.record import AnswerRecord, encode_record
from gateway.fitten.tools.recorder import AnswerRecorder
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import GenerationRequest, Tool
from gateway.replay.reader import read_again
from tests.unit.fitten.tools.reading.test_parser import TOOLS

BROKEN = '<tool_call>\n{"name": "clock", "arguments": {}\n'


def record_of(
    raw: Sequence[Piece],
    out: Sequence[Piece] | None = None,
    finish_reason: FinishReason | None = None,
    *,
    tools: Sequence[Tool] = TOOLS,
    **members: Any,
) -> AnswerRecord:
    """Return a record of an answer; the client got `out`, unless given what is read today."""
    if out is None:
        out, finish_reason = read_again(raw, tools)
    submitted: list[AnswerRecorder] = []
    request = GenerationRequest((), tools=tuple(tools))
    recorder = AnswerRecorder(
        request, submitted.append, model="fitten-code", key="alice", notation="json"
    )
    recorder.receive(raw)
    recorder.deliver(out)
    recorder.close(finish_reason=finish_reason, stopped=False, error=None, unreadable=True)
    record = submitted[0].record("2026-01-31T12:00:00Z", str)
    assert record is not None
    return msgspec.structs.replace(record, **members)


def written(record: AnswerRecord) -> bytes:
    """Return the content of a file."""
    return encode_record(record)
