"""Ends an answer that may have tool calls at a stop sequence, marker or limit. No I/O.

`max_tokens` applies to everything that the model writes. `stop` and role markers apply only to
the text that the client gets, not to the notation or the arguments of a call.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.fitten.tools.reading.parser import ToolParser
from gateway.generation import token_estimate
from gateway.generation.pieces import FinishReason, Piece, merge
from gateway.generation.request import Tool
from gateway.generation.stop_sequences import StopSequenceFilter
from gateway.generation.turn_end import MAX_BLANKS


class ToolStopSequenceFilter:
    """Ends an answer with tools like `StopSequenceFilter`, and parses its calls.

    A call that `max_tokens` cuts off is passed on as text. After a stop sequence nothing is
    part of the answer, not even a call.
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
    ) -> None:
        self._raw_filter = StopSequenceFilter(max_tokens=max_tokens)
        self._parser = ToolParser(tools, parallel=parallel)
        self._text_filter = StopSequenceFilter(
            stop=stop, markers=markers, opening=opening, begun=begun
        )
        # White space behind a call, which is passed on only if text follows; None after text.
        self._blank: str | None = None
        self._has_calls = False
        self._call_bytes = 0
        self._reported_bytes = 0
        self.finish_reason: FinishReason | None = None

    def feed(self, pieces: list[Piece]) -> list[Piece]:
        """Return what can be sent now, of these pieces and of the text held back."""
        if self.finish_reason:
            return []
        out = self._apply_stop(self._parser.feed(self._raw_filter.feed(merge(pieces))))
        if self._raw_filter.finish_reason and not self.finish_reason:
            out += self.flush(whole=False)
            self.finish_reason = self.finish_reason or self._final_reason(
                self._raw_filter.finish_reason
            )
        return out

    def flush(self, *, whole: bool = True) -> list[Piece]:
        """Return what is still held back, at the end of the answer.

        whole: as for `StopSequenceFilter.flush`.
        """
        if self.finish_reason:
            return []
        rest = self._parser.flush()
        out: list[Piece] = []
        if any(kind == "content" and not text.isspace() for kind, text in rest):
            # It began like a call and did not end. In doubt its markers are in arguments.
            out += self._note_end(self._text_filter.ignore_markers())
        if not self.finish_reason:
            out += self._apply_stop(rest)
        if not self.finish_reason:
            out += self._without_blanks(self._text_filter.flush(whole=whole))
        return out

    def advanced(self) -> bool:
        """Return whether the model has written anything since the last call of this method."""
        before, self._reported_bytes = self._reported_bytes, self._raw_filter.content_bytes
        return self._reported_bytes > before

    @property
    def natural_reason(self) -> FinishReason:
        """Return the finish reason of an answer that ended by itself."""
        return "tool_calls" if self._has_calls else "stop"

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
            return self._raw_filter.content_bytes
        return self._text_filter.content_bytes + self._call_bytes

    @property
    def reasoning_bytes(self) -> int:
        """Return the bytes of the reasoning."""
        return self._text_filter.reasoning_bytes

    @property
    def completion_tokens(self) -> int:
        """Return the estimated tokens of the answer."""
        return token_estimate.estimate(self.content_bytes + self.reasoning_bytes)

    def _apply_stop(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces up to a stop sequence, which must lie within text between calls."""
        out: list[Piece] = []
        for piece in pieces:
            is_text = piece[0] in ("content", "reasoning")
            if is_text:
                out += self._note_end(self._text_filter.feed([piece]))
            elif piece[0] == "call":
                out += self._note_end(self._text_filter.interrupt())
                self._blank = ""
            if self.finish_reason:
                break
            if not is_text:
                self._has_calls = True
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
        return "tool_calls" if cut == "stop" and self._has_calls else cut
