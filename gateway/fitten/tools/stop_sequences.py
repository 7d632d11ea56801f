"""Ends an answer that may have tool calls at a stop sequence, marker or limit. No I/O.

Role markers and `max_tokens` apply to everything that the model writes. `stop` applies only to
the text that the client gets, not to the notation or the arguments of a call.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.fitten.tools.parser import ToolParser
from gateway.generation import token_estimate
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import Tool
from gateway.generation.stop_sequences import StopSequenceFilter


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
        max_tokens: int | None,
    ) -> None:
        self._raw_filter = StopSequenceFilter(markers=markers, max_tokens=max_tokens)
        self._parser = ToolParser(tools, parallel=parallel)
        self._text_filter = StopSequenceFilter(stop=stop)
        self._has_calls = False
        self._call_bytes = 0
        self._reported_bytes = 0
        self.finish_reason: FinishReason | None = None

    def feed(self, pieces: list[Piece]) -> list[Piece]:
        """Return what can be sent now, of these pieces and of the text held back."""
        if self.finish_reason:
            return []
        out = self._apply_stop(self._parser.feed(self._raw_filter.feed(pieces)))
        if self._raw_filter.finish_reason and not self.finish_reason:
            out += self.flush()
            self.finish_reason = self.finish_reason or self._final_reason(
                self._raw_filter.finish_reason
            )
        return out

    def flush(self) -> list[Piece]:
        """Return what is still held back, at the end of the answer."""
        if self.finish_reason:
            return []
        out = self._apply_stop(self._parser.feed(self._raw_filter.flush()))
        if not self.finish_reason:
            out += self._apply_stop(self._parser.flush())
        if not self.finish_reason:
            out += self._text_filter.flush()
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
            if piece[0] in ("content", "reasoning"):
                out += self._text_filter.feed([piece])
                if self._text_filter.finish_reason:
                    self.finish_reason = self._final_reason(self._text_filter.finish_reason)
                    break
            else:
                out += self._text_filter.flush()
                self._has_calls = True
                self._call_bytes += token_estimate.size(piece[1])
                out.append(piece)
        return out

    def _final_reason(self, cut: FinishReason) -> FinishReason:
        """Return `tool_calls` for a stop after complete calls, which the client can run."""
        return "tool_calls" if cut == "stop" and self._has_calls else cut
