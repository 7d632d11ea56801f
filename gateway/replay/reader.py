"""Reads the text of a recorded answer again, with the reader of this version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.fitten.chat.prompt import OPENING, ROLE_MARKERS
from gateway.fitten.tools.record import AnswerRecord
from gateway.fitten.tools.recorder import DeliveredPieces
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import Tool
from gateway.generation.stop_sequences import StopSequenceFilter


@dataclass(frozen=True, slots=True)
class Reading:
    """Holds what came out of an answer that was read again.

    pieces: with those of the first part, if the answer continues one.
    same: whether it is what the client got then, as far as the record says.
    """

    pieces: list[Piece]
    finish_reason: FinishReason
    same: bool


def read_record(record: AnswerRecord) -> Reading:
    """Return what this version reads in a recorded answer."""
    before, pieces, reason = _read(
        raw_pieces(record),
        recorded_tools(record),
        parallel=record.parallel,
        max_tokens=record.max_tokens,
        whole=record.finish_reason is not None,
        value=record.block,
        streamed=record.streamed,
        repairable=record.repairable,
        continues=record.continues,
    )
    delivered = DeliveredPieces()
    restates = record.part == 2 and record.repaired == "form"  # then only its calls are sent
    delivered.add([p for p in pieces if not restates or p[0] in ("call", "arguments")])
    # What was masked or left out has another length.
    changed = record.masked or is_cut(record)
    then, now = (
        [(kind, None if changed and isinstance(value, int) else value) for kind, value in entries]
        for entries in (record.came_out, delivered.entries)
    )
    return Reading(before + pieces, reason, then == now and record.finish_reason in (None, reason))


def read_again(
    raw: Sequence[Piece],
    tools: Sequence[Tool],
    *,
    parallel: bool = True,
    max_tokens: int | None = None,
    whole: bool = True,
    value: str | None = None,
    streamed: bool = True,
    repairable: bool = False,
    continues: str = "",
) -> tuple[list[Piece], FinishReason]:
    """Return the pieces that a client gets of an answer, and its finish reason.

    raw: what the model wrote. whole: whether nothing is missing at its end.
    value: what marks the blocks of the hybrid notation, if the prompt asked for that one.
    streamed, repairable, continues: see `AnswerRecord`.
    The pieces of the continued text come first.
    """
    before, pieces, reason = _read(
        raw,
        tools,
        parallel=parallel,
        max_tokens=max_tokens,
        whole=whole,
        value=value,
        streamed=streamed,
        repairable=repairable,
        continues=continues,
    )
    return before + pieces, reason


def _read(
    raw: Sequence[Piece],
    tools: Sequence[Tool],
    *,
    parallel: bool,
    max_tokens: int | None,
    whole: bool,
    value: str | None,
    streamed: bool,
    repairable: bool,
    continues: str,
) -> tuple[list[Piece], list[Piece], FinishReason]:
    """Return the pieces of the text that is continued, those of the answer, and the reason."""
    before: list[Piece] = []
    reader: StopSequenceFilter | ToolStopSequenceFilter
    if tools:
        reader = ToolStopSequenceFilter(
            tools,
            parallel=parallel,
            stop=(),
            markers=ROLE_MARKERS,
            opening=OPENING,
            max_tokens=max_tokens,
            value=value,
            eager=streamed,
            repairable=repairable or bool(continues),
        )
        if continues:
            before = reader.feed([("content", continues)])
            reader.continue_answer()
    else:
        reader = StopSequenceFilter(markers=ROLE_MARKERS, opening=OPENING, max_tokens=max_tokens)
    pieces = reader.feed(list(raw))
    if not (whole and isinstance(reader, ToolStopSequenceFilter) and reader.needs_repair()):
        pieces += reader.flush(whole=whole)
    return before, pieces, reader.finish_reason or reader.natural_reason


def raw_pieces(record: AnswerRecord) -> list[Piece]:
    """Return what the model wrote; beside a cut, the parts follow each other."""
    pieces: list[Piece] = []
    for kind, text in record.raw:
        if kind != "cut" and text:
            pieces.append((kind, text))
    return pieces


def recorded_tools(record: AnswerRecord) -> list[Tool]:
    """Return the tools that were offered."""
    return [Tool(tool.name, "", tool.parameters, kind=tool.kind) for tool in record.tools]


def is_cut(record: AnswerRecord) -> bool:
    """Return whether something is missing in the middle of the answer."""
    return any(kind == "cut" for kind, _ in record.raw)
