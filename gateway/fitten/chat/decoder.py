"""Decodes the bytes of a chat answer into pieces. No I/O.

The answer is NDJSON: one JSON object per line, without an end marker (protocol 4.7). The
comments below number its traps as protocol 10 does. The pieces do not depend on how the bytes
are split. About keep-alives docs/decisions/keep-alives.md is right, not protocol 4.7 and 10.4.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.errors import (
    GatewayError,
    UpstreamError,
)
from gateway.fitten.error_mapping import error_object, truncated_error
from gateway.generation import json_values
from gateway.generation.pieces import Kind, Piece, split
from gateway.generation.surrogates import SurrogateJoiner

MAX_LINE = 16 * 1024 * 1024
_PART = 8 * 1024  # characters of a long line's text that are returned at once
_LONG = 2 * _PART  # bytes of a block that has a long line, since less is received at once

# Trap 4: a keep-alive is this word, alone or followed by anything but letters. Alone it may also
# be text: `heartbeat_interval` often comes as `heartbeat` and `_interval`.
_HEARTBEAT = re.compile(r"heartbeat[\W\d_]*")
_WORD = "heartbeat"
# After so many seconds without a line the word alone is a keep-alive.
_SILENCE = 1.0
_PADDING = re.compile("[\0\ufeff]")
_BLANK = b" \t\r\0"
_EMPTY = frozenset((b"", b" ", b"\t", b"\r", b"\0"))
_SHORT_LINE = 32_768  # bytes; such a line has few values
_MAX_INVALID = 1000  # lines; each takes longer than one that is JSON
_BOM = b"\xef\xbb\xbf"

# Padding, or small letters, which may make the word of a keep-alive.
_ESCAPED = re.compile(rb"\\u(?:0000|00[67]|[fF][eE][fF][fF])")


class _PlainLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    delta: str


_PLAIN_LINES = msgspec.json.Decoder(_PlainLine)

# Python's conversion of numbers has no slow cases, unlike msgspec's (`1e300`).
_ANY_LINE = msgspec.json.Decoder(float_hook=float).decode

_REASONING = ("reasoning_delta", "thinking_delta")


@dataclass(frozen=True, slots=True)
class UpstreamUsage:
    """Holds the token counts that Fitten reported."""

    input_tokens: int
    output_tokens: int


class AnswerDecoder:
    """Decodes one answer: takes its bytes, returns its pieces.

    `feed` decodes what arrived, `finish` ends the answer; both return pieces. Once `error` is
    set, no more pieces come, and the answer is not complete.

    A long line's text comes in parts, so that other requests can run between them. While
    `has_parts` is true, `next_part` returns the next one, and nothing else may be called.

    A delta that is only the word `heartbeat` is a keep-alive in three places: before the first
    text, behind another keep-alive, and after a second without a line. Otherwise it is held back
    until the next line. If that is a keep-alive, or does not come, the word was one too. Else it
    is text.

    clock: returns the time in seconds.
    usage: the last token counts that Fitten reported.
    complete: whether Fitten sent counts or a finish reason, which it does at the end only.
    trace: the trace id of Fitten.
    has_text: whether any text came. empty: whether the error is that none came.
    skipped: how many lines were not JSON objects.
    """

    def __init__(
        self, *, max_line: int = MAX_LINE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_line = max_line
        self._clock = clock
        self._now = self._line_at = 0.0  # when the last data came, and the line before this one
        self._word = ""  # the word that may be a keep-alive or text
        self._after_keep_alive = False
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._seen_json = False
        self._invalid = 0
        self._last_invalid = False  # the last line was not JSON, such as a proxy's error page
        self._halves = SurrogateJoiner[Kind]()
        self._pieces: list[Piece] = []
        self._parts: list[list[Piece]] = []
        self._error_behind: GatewayError | None = None  # to be set after the last part
        self.has_parts = False
        self.usage: UpstreamUsage | None = None
        self.complete = False
        self.trace: str | None = None
        self.skipped = 0
        self.has_text = False
        self.error: GatewayError | None = None
        self.empty = False

    def feed(self, data: bytes) -> list[Piece]:
        """Decode data that arrived; return the pieces of all lines that are complete now.

        A line that stands for an error sets `error`; what follows it is ignored.
        """
        if self.error is not None:
            return []
        self._now = self._clock()
        block, rest = data, b""
        if data[-1:] != b"\n":
            end = data.rfind(b"\n") + 1
            block, rest = data[:end], data[end:]
            if not end:
                self._keep(rest)
                return []
        if self._rest:
            block = b"".join((*self._rest, block))
            self._rest, self._rest_size = [], 0
        pieces = self._plain_pieces(block)
        if pieces is None:
            # Most often only the last line has other members: the usage.
            last = block.rfind(b"\n", 0, -1) + 1
            pieces = self._plain_pieces(block[:last]) if last else None
            if pieces is None:
                pieces = self._any_pieces(block)
            else:
                pieces += self._any_pieces(block[last:])
        if rest and self.error is None:
            self._keep(rest)
        if len(block) > _LONG:
            return self._first_part(pieces)
        return pieces

    def next_part(self) -> list[Piece]:
        """Return the next part of a long line's text; with the last one, set its `error`."""
        part = self._parts.pop(0)
        if not self._parts:
            self.has_parts = False
            self.error, self._error_behind = self._error_behind, None
        return part

    def _first_part(self, pieces: list[Piece]) -> list[Piece]:
        """Return the first part of the pieces, and keep the others."""
        self._parts.extend(split(pieces, _PART))
        self.has_parts = True
        self._error_behind, self.error = self.error, None
        return self.next_part()

    def _plain_pieces(self, block: bytes) -> list[Piece] | None:
        """Return the pieces of lines that hold only a delta; None if a line holds more.

        Nearly all lines hold only a delta. Decoding them together takes a fifth of the time
        of decoding each; the result is the same (benchmarks/micro.py, tests/unit/fitten).
        """
        if self._word or self._halves.waiting or len(block) > self._max_line:
            return None
        if b"heartbeat" in block:
            return None
        if _BOM in block or (b"\\u" in block and _ESCAPED.search(block)):
            return None
        try:
            lines = _PLAIN_LINES.decode_lines(block)
        except (ValueError, RecursionError):
            return None
        if len(lines) != block.count(b"\n"):
            return None  # blank lines, or an object that spans several lines
        pieces: list[Piece] = [("content", line.delta) for line in lines if line.delta]
        self._seen_json, self._last_invalid = True, False
        self._line_at, self._after_keep_alive = self._now, False
        if pieces:
            self.has_text = True
        return pieces

    def _any_pieces(self, block: bytes) -> list[Piece]:
        """Return the pieces of lines of any kind, decoded one by one."""
        for line in block.split(b"\n"):
            self._decode_line(line)
            if self.error is not None:
                break
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self, *, whole: bool) -> list[Piece]:
        """End the answer and return its last pieces; a word that is still held was a keep-alive.

        After the last part of a long line it is to be called once more.

        whole: whether HTTP proved that nothing is missing (the last chunk of a chunked body, or
            all of a given length). Trap 10: without that proof, only token counts or a finish
            reason say that the answer is complete.
        """
        last = b"".join(self._rest)
        self._rest, self._rest_size = [], 0
        if self.error is None and last.strip(_BLANK):
            self._decode_line(last)
            if self._last_invalid and (last.lstrip(_BLANK).startswith(b"{") or self.error is None):
                self.error = truncated_error()  # the last line is incomplete
        if self.error is None and not self.complete and (self._last_invalid or not whole):
            self.error = truncated_error()
        for half in self._halves.flush():
            self._pieces.append(half)
            self.has_text = True
        if self.error is None and not (self.has_text or self.complete):
            self.empty = True
            self.error = UpstreamError(
                "Fitten's answer has no text; please try again.",
                code="upstream_invalid_response",
            )
        pieces, self._pieces = self._pieces, []
        return self._first_part(pieces) if len(last) > _LONG else pieces

    def _keep(self, rest: bytes) -> None:
        self._rest.append(rest)
        self._rest_size += len(rest)
        if self._rest_size > self._max_line:
            self._fail_too_long()

    def _fail_too_long(self) -> None:
        self.error = UpstreamError(
            "Fitten sent a line that is too long.", code="upstream_invalid_response"
        )
        self._rest, self._rest_size = [], 0

    def _decode_line(self, line: bytes) -> None:
        if line in _EMPTY:
            return
        size = len(line)
        if size > self._max_line:
            self._fail_too_long()
            return
        if size > _SHORT_LINE and json_values.exceeds(line, json_values.MAX_VALUES):
            self._note_other_line()
            self._skip_invalid_line()
            return
        try:
            member = _ANY_LINE(line)
        except (ValueError, RecursionError):
            line = line.removeprefix(_BOM).strip(_BLANK)  # traps 3 and 5
            if not line:
                return
            try:
                member = _decode_leniently(line)
            except (ValueError, RecursionError):
                self._note_other_line()
                self._skip_invalid_line()
                return
        self._seen_json, self._last_invalid = True, False
        if type(member) is not dict:  # trap 7
            self._note_other_line()
            self.skipped += 1
            return
        delta = member.get("delta")
        if type(delta) is not str:
            delta = ""
        keep_alive = _WORD in delta and _HEARTBEAT.fullmatch(_PADDING.sub("", delta)) is not None
        if self._word:
            self._decide_word(keep_alive=keep_alive)
        if not keep_alive:
            self._after_keep_alive = False
        for name in _REASONING:  # trap 8: a line may have several of them
            text = member.get(name)
            if type(text) is str and text:
                self._add_text("reasoning", text)
        if delta:
            self._add_text("content", delta)
        self._line_at = self._now
        if len(member) > 1 or "delta" not in member:
            self._read_other_members(member)

    def _skip_invalid_line(self) -> None:
        """Skip a line that is not JSON, which is never text (trap 6).

        If it is the first line, or there are too many, this is no chat answer: set `error`.
        """
        self.skipped += 1
        self._invalid += 1
        self._last_invalid = True
        if not self._seen_json or self._invalid > _MAX_INVALID:
            self.error = UpstreamError(
                "Fitten answered with something that is not a chat answer; please try again.",
                code="upstream_invalid_response",
            )

    def _decide_word(self, *, keep_alive: bool) -> None:
        """Decide about a word that is held back. keep_alive: whether another one follows."""
        if keep_alive:
            self._after_keep_alive = True
        elif self._word:
            self._pieces.append(("content", self._word))
        self._word = ""

    def _note_other_line(self) -> None:
        """Note a line without members: a word that is held back before it is text."""
        self._decide_word(keep_alive=False)
        self._line_at, self._after_keep_alive = self._now, False

    def _add_text(self, kind: Kind, text: str) -> None:
        if "\0" in text or "\ufeff" in text:  # trap 5
            text = _PADDING.sub("", text)
            if not text.strip("\r\n"):
                return
        if kind == "content" and text.startswith(_WORD) and _HEARTBEAT.fullmatch(text):
            if self._may_be_text(text):
                self._word = text
            else:
                self._after_keep_alive = True
            return
        if kind in self._halves.waiting or not text.isascii():
            text = self._halves.join(kind, text)
        if text:
            self._pieces.append((kind, text))
            self.has_text = True

    def _may_be_text(self, text: str) -> bool:
        """Return whether what looks like a keep-alive may be a word of the answer."""
        return (
            text.rstrip() == _WORD
            and self.has_text
            and not self._after_keep_alive
            and self._now - self._line_at < _SILENCE
            and "content" not in self._halves.waiting  # text would split a pair
        )

    def _read_other_members(self, member: dict[str, Any]) -> None:
        usage = member.get("usage")
        if type(usage) is dict:
            self.usage = _usage(usage) or self.usage
            self.complete = True
        if type(trace := member.get("tracedata")) is str:
            self.trace = trace
        if type(reason := member.get("finish_reason")) is str and reason:
            self.complete = True
        self.error = error_object(member)


def _decode_leniently(line: bytes) -> Any:
    """Decode a line that the strict decoder refuses: lone surrogates, invalid UTF-8, NaN."""
    return json.loads(line.decode("utf-8", "replace"))


def _usage(usage: dict[str, Any]) -> UpstreamUsage | None:
    """Return the token counts, which may be numbers or numeric strings (trap 9)."""
    counts = []
    for name in ("input_tokens", "output_tokens"):
        value = usage.get(name)
        if type(value) is str and value.isascii() and value.isdigit() and len(value) < 16:
            value = int(value)
        if type(value) is not int or not 0 <= value < 10**15:
            return None
        counts.append(value)
    return UpstreamUsage(*counts)
