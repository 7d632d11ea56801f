"""Where an answer with calls ends, and what of it goes out. No I/O.

Role markers and `max_tokens` are looked for in what the model writes, `stop` in the text
that the caller gets: a call's notation and its arguments are no text.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.fitten.tools.parser import ToolParser
from gateway.generation import token_estimate
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import Tool
from gateway.generation.stop_sequences import StopSequenceFilter


class ToolStopSequenceFilter:
    """A `StopSequenceFilter` for an answer whose model was offered tools; calls come out as pieces.

    A call that `max_tokens` breaks off comes out as text. What the upstream wrote after a
    stop string is not part of the answer, calls neither.
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
        self._written = StopSequenceFilter(markers=markers, max_tokens=max_tokens)
        self._parser = ToolParser(tools, parallel=parallel)
        self._text = StopSequenceFilter(stop=stop)
        self._called = False
        self._call_bytes = 0
        self._noticed = 0
        self.finish_reason: FinishReason | None = None

    def feed(self, pieces: list[Piece]) -> list[Piece]:
        """What of these pieces may go out now."""
        if self.finish_reason:
            return []
        out = self._stopped(self._parser.feed(self._written.feed(pieces)))
        if self._written.finish_reason and not self.finish_reason:
            out += self.flush()
            self.finish_reason = self.finish_reason or self._reason(self._written.finish_reason)
        return out

    def flush(self) -> list[Piece]:
        """What is still held back, once it is known that no more will come."""
        if self.finish_reason:
            return []
        out = self._stopped(self._parser.feed(self._written.flush()))
        if not self.finish_reason:
            out += self._stopped(self._parser.flush())
        if not self.finish_reason:
            out += self._text.flush()
        return out

    def advanced(self) -> bool:
        """Whether the model has written anything since the last time this was asked."""
        before, self._noticed = self._noticed, self._written.content_bytes
        return self._noticed > before

    @property
    def natural_reason(self) -> FinishReason:
        """The reason of an answer that nothing cut."""
        return "tool_calls" if self._called else "stop"

    @property
    def content_bytes(self) -> int:
        """The size of text and calls; without a notation's own marks where a stop string
        ended them."""
        if self._text.finish_reason is None:
            return self._written.content_bytes
        return self._text.content_bytes + self._call_bytes

    @property
    def reasoning_bytes(self) -> int:
        """The size of the thoughts."""
        return self._text.reasoning_bytes

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer, as far as can be guessed."""
        return token_estimate.estimate(self.content_bytes + self.reasoning_bytes)

    def _stopped(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces up to a stop string, which is looked for in each stretch of text."""
        out: list[Piece] = []
        for piece in pieces:
            if piece[0] in ("content", "reasoning"):
                out += self._text.feed([piece])
                if self._text.finish_reason:
                    self.finish_reason = self._reason(self._text.finish_reason)
                    break
            else:
                out += self._text.flush()
                self._called = True
                self._call_bytes += token_estimate.size(piece[1])
                out.append(piece)
        return out

    def _reason(self, cut: FinishReason) -> FinishReason:
        """Calls that came whole are to be carried out, unless the limit cut the answer."""
        return "tool_calls" if cut == "stop" and self._called else cut
