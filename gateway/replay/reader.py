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

    same: whether it is what the client got then, as far as the record says.
    """

    pieces: list[Piece]
    finish_reason: FinishReason
    same: bool


def read_record(record: AnswerRecord) -> Reading:
    """Return what this version reads in a recorded answer."""
    pieces, reason = read_again(
        raw_pieces(record),
        recorded_tools(record),
        parallel=record.parallel,
        max_tokens=record.max_tokens,
        whole=record.finish_reason is not None,
    )
    delivered = DeliveredPieces()
    delivered.add(pieces)
    # What was masked or left out has another length.
    changed = record.masked or is_cut(record)
    then, now = (
        [(kind, None if changed and isinstance(value, int) else value) for kind, value in entries]
        for entries in (record.came_out, delivered.entries)
    )
    return Reading(pieces, reason, then == now and record.finish_reason in (None, reason))


def read_again(
    raw: Sequence[Piece],
    tools: Sequence[Tool],
    *,
    parallel: bool = True,
    max_tokens: int | None = None,
    whole: bool = True,
) -> tuple[list[Piece], FinishReason]:
    """Return the pieces that a client gets of an answer, and its finish reason.

    raw: what the model wrote. whole: whether nothing is missing at its end.
    """
    reader: StopSequenceFilter | ToolStopSequenceFilter
    if tools:
        reader = ToolStopSequenceFilter(
            tools,
            parallel=parallel,
            stop=(),
            markers=ROLE_MARKERS,
            opening=OPENING,
            max_tokens=max_tokens,
        )
    else:
        reader = StopSequenceFilter(markers=ROLE_MARKERS, opening=OPENING, max_tokens=max_tokens)
    pieces = reader.feed(list(raw))
    pieces += reader.flush(whole=whole)
    return pieces, reader.finish_reason or reader.natural_reason


def raw_pieces(record: AnswerRecord) -> list[Piece]:
    """Return what the model wrote; beside a cut, the parts follow each other."""
    pieces: list[Piece] = []
    for kind, text in record.raw:
        if kind != "cut" and text:
            pieces.append((kind, text))
    return pieces


def recorded_tools(record: AnswerRecord) -> list[Tool]:
    """Return the tools that were offered."""
    return [Tool(tool.name, "", tool.parameters) for tool in record.tools]


def is_cut(record: AnswerRecord) -> bool:
    """Return whether something is missing in the middle of the answer."""
    return any(kind == "cut" for kind, _ in record.raw)
