"""Ends an answer that may have tool calls at a stop sequence, marker or limit. No I/O.

`max_tokens` applies to everything that the model writes. `stop` and role markers apply only to
the text that the client gets, not to the notation or the arguments of a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from gateway.fitten.prompt_limit import MAX_CHARS
from gateway.fitten.tools.overlap import OverlapRemover, SentCall
from gateway.fitten.tools.reading.parser import ToolParser
from gateway.generation import token_estimate
from gateway.generation.pieces import FinishReason, Piece, merge
from gateway.generation.request import Tool
from gateway.generation.stop_sequences import StopSequenceFilter
from gateway.generation.turn_end import MAX_BLANKS

_MAY_START = re.compile(r"[<\[{`~]")
_MOST_UNREAD = 8192
_MOST_BYTES = 4  # of a character in UTF-8
_BEGUN_ARGUMENTS: Piece = ("arguments", "{")

Fault = Literal["cut", "form", "empty"]


class ToolStopSequenceFilter:
    """Ends an answer with tools like `StopSequenceFilter`, and parses its calls.

    A call that `max_tokens` cuts off is passed on as text, unless its beginning has been passed
    on. After a stop sequence nothing is part of the answer, not even a call.

    value, quoted, eager, repairable: see `ToolParser`.

    fault: why the answer needs a repair. "cut", "form": see `ToolParser.fault`. "empty": it has
        neither text nor a call.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        *,
        parallel: bool,
        stop: Sequence[str],
        markers: Sequence[str],
        opening: str,
        begun: str = "",
        max_tokens: int | None,
        value: str | None = None,
        quoted: Callable[[str], bool] = lambda _: False,
        eager: bool = True,
        repairable: bool = False,
    ) -> None:
        self._raw_filter = StopSequenceFilter(max_tokens=max_tokens)
        self._new_parser = partial(
            ToolParser, tools, parallel=parallel, value=value, quoted=quoted, eager=eager
        )
        self._parser = self._new_parser(repairable=repairable)
        self._text_filter = StopSequenceFilter(
            stop=stop, markers=markers, opening=opening, begun=begun
        )
        # White space behind a call, which is passed on only if text follows; None after text.
        self._blank: str | None = None
        self._has_calls = False
        self._calls = 0  # of this parser, as far as they were passed on
        self._bare = False  # whether only the name of the last call was passed on
        # Whether the answer ended within a call of which nothing was passed on.
        self._broke_off = False
        self._stays_cut = False  # whether it ended there for good
        self._call_bytes = 0
        self._reported_bytes = 0
        # Most text cannot be part of a call. It does not pass through the parser, which reads it
        # later only to know its line and whether it is code. Near the limit of tokens all does.
        self._without_stop = not stop
        self._plain = False
        self._unread = ""
        self._repairable = repairable
        self._raw: list[str] = []  # what the model wrote, for a repair
        self._raw_size = 0
        self._overlap: OverlapRemover | None = None
        self._sent_call: list[str] = []  # of the last call: its name and arguments, for a repair
        self._sent = SentCall()
        # Bytes of an earlier answer that this one continues: as written, as passed on, reasoning.
        self._counted = (0, 0, 0)
        self._joined = 0  # characters that were looked at for a repeated beginning
        self._max_tokens = max_tokens
        self.fault: Fault | None = None
        self.finish_reason: FinishReason | None = None

    def feed(self, pieces: list[Piece]) -> list[Piece]:
        """Return what can be sent now, of these pieces and of the text held back."""
        if self.finish_reason:
            return []
        if self._plain and (out := self._feed_plain(pieces)) is not None:
            return out
        if self._unread:
            self._parser.read_past(self._unread)
            self._unread = ""
        if self._overlap is not None:
            self._joined += sum([len(text) for _, text in pieces])
            pieces = self._overlap.feed(pieces)
            if self._overlap.restarted:
                self._restart()
        text = "".join([text for kind, text in pieces if kind == "content"])
        if self._repairable:
            self._keep_raw(text)
        out = self._apply_stop(self._parser.feed(self._raw_filter.feed(merge(pieces))))
        if self._parser.answered and not self.finish_reason:
            out += self._without_blanks(self._text_filter.flush())
            self.finish_reason = self.natural_reason
            self._mark_cut_call(out)
        elif self._raw_filter.finish_reason and not self.finish_reason:
            out += self.flush(whole=False)
            self.finish_reason = self.finish_reason or self._final_reason(
                self._raw_filter.finish_reason
            )
        self._plain = self._without_stop and self._blank is None and self._parser.at_rest
        return out

    def _feed_plain(self, pieces: list[Piece]) -> list[Piece] | None:
        """Return pieces that can be no part of a call, as nearly all; None if they may be."""
        text = "".join([text for _, text in pieces])
        if _MAY_START.search(text) or len(self._unread) > _MOST_UNREAD:
            return None
        text_filter, raw_filter = self._text_filter, self._raw_filter
        left = raw_filter.bytes_left
        if left is not None and (text_filter.held or _MOST_BYTES * len(text) > left):
            return None
        content, reasoning = text_filter.content_bytes, text_filter.reasoning_bytes
        out = text_filter.feed(pieces)
        raw_filter.content_bytes += text_filter.content_bytes - content
        if left is not None:
            raw_filter.bytes_left = left - (
                text_filter.content_bytes - content + text_filter.reasoning_bytes - reasoning
            )
        if text_filter.reasoning_bytes != reasoning:
            raw_filter.reasoning_bytes += text_filter.reasoning_bytes - reasoning
            text = "".join([text for kind, text in pieces if kind == "content"])
        self._unread += text
        if self._repairable:
            self._keep_raw(text)
        return out

    def _keep_raw(self, text: str) -> None:
        """Keep what the model wrote for a repair, unless it is too long for a prompt."""
        self._raw.append(text)
        self._raw_size += len(text)
        if self._raw_size > MAX_CHARS:
            self._repairable = False
            self._raw.clear()
            self._sent_call.clear()

    def flush(self, *, whole: bool = True) -> list[Piece]:
        """Return what is still held back, at the end of the answer.

        whole: as for `StopSequenceFilter.flush`.
        """
        if self.finish_reason:
            return []
        if self._overlap is not None:
            late = self._overlap.flush()
            if self._overlap is not None and self._overlap.restarted:
                self._restart()
            self._overlap = None
            return (self.feed(late) if late else []) + self.flush(whole=whole)
        if self._unread:
            self._parser.read_past(self._unread)
            self._unread = ""
        if self._parser.fault == "cut":
            self._broke_off = not self._parser.begun
            self._stays_cut = self._broke_off and self._parser.names_tool
        rest = self._parser.flush(whole=whole)
        out: list[Piece] = []
        if any(kind == "content" and not text.isspace() for kind, text in rest):
            # It began like a call and did not end. In doubt its markers are in arguments.
            out += self._note_end(self._text_filter.ignore_markers())
        if not self.finish_reason:
            out += self._apply_stop(rest)
        if not self.finish_reason:
            out += self._without_blanks(self._text_filter.flush(whole=whole))
        if self.cut and whole:
            self.finish_reason = "length"
        return self._mark_cut_call(out)

    def _mark_cut_call(self, out: list[Piece]) -> list[Piece]:
        """Begin the arguments of a call of which only the name was passed on; return all pieces.

        Clients take an empty text for `{}`, and would run the call.
        """
        if self._bare:
            self._bare = False
            out.append(_BEGUN_ARGUMENTS)
        return out

    def needs_repair(self) -> bool:
        """Return whether the answer, which has ended by itself, needs a repair; set `fault`."""
        self.fault = self._find_fault() if self._repairable else None
        return self.fault is not None

    def continue_answer(self) -> None:
        """Prepare for a second answer that continues the first one, which ended within a call.

        Its reasoning is left out, and a beginning that repeats the end of the first one. The
        counts of bytes begin anew.
        """
        self._repairable = False
        self.fault = None
        self._broke_off = not self._parser.begun
        self._overlap = OverlapRemover(self.raw_text, self._parser.open_block)
        self._counted = (
            self._raw_filter.content_bytes,
            self._text_filter.content_bytes + self._call_bytes,
            self._text_filter.reasoning_bytes,
        )

    @property
    def raw_text(self) -> str:
        """Return the text that the model wrote, of an answer that may be repaired."""
        return "".join(self._raw)

    @property
    def unreadable(self) -> bool:
        """Return whether a call could not be read, or broke off; see `ToolParser.unreadable`."""
        broke_off = self._stays_cut and self.tokens_left != 0  # else the limit cut it
        return self._parser.unreadable or broke_off or self.fault in ("cut", "form")

    @property
    def cut(self) -> bool:
        """Return whether a call has been passed on in part only, or as text since it broke off."""
        cut_call = self._parser.cut_call
        passed_on = cut_call is not None and cut_call <= self._calls
        as_text = self._broke_off and (self._stays_cut or self._parser.unreadable)
        return passed_on or as_text or not self._sent.complete

    def _restart(self) -> None:
        """Read the call anew that the first answer ended within; leave out what was sent of it."""
        self._overlap = None
        if self._parser.begun:
            self._sent = SentCall(self._sent_call[0], "".join(self._sent_call[1:]))
        self._parser = self._new_parser()
        self._calls = 0

    def _find_fault(self) -> Fault | None:
        """Return what keeps the answer from being whole; None if nothing does."""
        if self.stop_sequence is not None or self.finish_reason == "length":
            return None
        if self.tokens_left == 0:
            return None
        if fault := self._parser.fault:
            return fault
        written = self._has_calls or self._text_filter.content_bytes
        held = self._parser.holds_text or self._text_filter.holds_text
        return None if written or held else "empty"

    def advanced(self) -> bool:
        """Return whether the model has written anything since the last call of this method."""
        raw, before = self._raw_filter, self._reported_bytes
        self._reported_bytes = raw.content_bytes + raw.reasoning_bytes + self._joined
        return self._reported_bytes > before

    @property
    def called(self) -> bool:
        """Return whether a call has been passed on, or its beginning."""
        return self._has_calls

    @property
    def tokens_left(self) -> int | None:
        """Return how many tokens `max_tokens` leaves for a second answer; None without it."""
        if self._max_tokens is None:
            return None
        return max(0, self._max_tokens - self._raw_filter.completion_tokens)

    @property
    def natural_reason(self) -> FinishReason:
        """Return the finish reason of an answer that ended by itself."""
        return self._final_reason("stop")

    @property
    def unchecked(self) -> bool:
        """Return whether a call's arguments were not converted, since it takes too many steps."""
        return self._parser.unchecked

    @property
    def stop_sequence(self) -> str | None:
        """Return the stop string that ended the answer, if one did."""
        return self._text_filter.stop_sequence

    @property
    def content_bytes(self) -> int:
        """Return the bytes of text and calls.

        They include the notation of the calls, unless a stop sequence ended the answer.
        """
        if self._text_filter.finish_reason is None:
            return self._raw_filter.content_bytes - self._counted[0]
        return self._text_filter.content_bytes + self._call_bytes - self._counted[1]

    @property
    def reasoning_bytes(self) -> int:
        """Return the bytes of the reasoning."""
        return self._text_filter.reasoning_bytes - self._counted[2]

    @property
    def completion_tokens(self) -> int:
        """Return the estimated tokens of the answer."""
        return token_estimate.estimate(self.content_bytes + self.reasoning_bytes)

    def _apply_stop(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces up to a stop sequence, which must lie within text between calls."""
        out: list[Piece] = []
        for piece in pieces:
            is_text = piece[0] in ("content", "reasoning")
            if self._bare and piece[0] in ("call", "content") and self._sent.complete:
                self._mark_cut_call(out)
            if is_text:
                out += self._note_end(self._text_filter.feed([piece]))
            elif piece[0] == "call":
                out += self._note_end(self._text_filter.interrupt())
                self._blank = ""
            if self.finish_reason:
                break
            if not is_text:
                self._calls += piece[0] == "call"
                if self._repairable:
                    if piece[0] == "call":
                        self._sent_call.clear()
                    self._sent_call.append(piece[1])
                elif not self._sent.complete:
                    rest = self._sent.without_sent(piece)
                    if rest is None:
                        self.finish_reason = "length"
                        self._mark_cut_call(out)
                        break
                    if not rest[1]:
                        continue
                    piece = rest
                self._has_calls = True
                self._broke_off = False
                self._bare = piece[0] == "call"
                self._call_bytes += token_estimate.size(piece[1])
                out.append(piece)
        return out

    def _note_end(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return what may be sent of these pieces of text; note whether the answer has ended."""
        out = self._without_blanks(pieces)
        if self._text_filter.finish_reason:
            if self._blank and self._text_filter.stop_sequence:
                out.append(("content", self._blank))
            self.finish_reason = self._final_reason(self._text_filter.finish_reason)
        return out

    def _without_blanks(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return pieces without the white space between a call and a marker.

        The parser passes such white space on, since it takes the marker for text.
        """
        if self._blank is None:
            return list(pieces)
        out: list[Piece] = []
        for piece in pieces:
            if piece[0] == "content" and self._blank is not None:
                text = self._blank + piece[1]
                if text.isspace() and len(text) <= MAX_BLANKS:
                    self._blank = text
                    continue
                piece, self._blank = ("content", text), None
            out.append(piece)
        return out

    def _final_reason(self, cut: FinishReason) -> FinishReason:
        """Return `tool_calls` for a stop after complete calls, which the client can run."""
        if self.cut:
            return "length"
        return "tool_calls" if cut == "stop" and self._has_calls else cut


class CallFilter(ToolStopSequenceFilter):
    """Passes only calls on, of an answer that restates a call."""

    def feed(self, pieces: list[Piece]) -> list[Piece]:
        """Return the parts of calls that can be sent now."""
        return _calls(super().feed(pieces))

    def flush(self, *, whole: bool = True) -> list[Piece]:
        """Return the parts of calls that are still held back."""
        return _calls(super().flush(whole=whole))


def _calls(pieces: Sequence[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece[0] in ("call", "arguments")]
