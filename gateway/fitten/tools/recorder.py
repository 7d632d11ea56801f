"""Collects one answer as the model wrote it, and finds reasons to keep it. No I/O.

Only answers to keys that allow it are collected. Most of them are dropped at their end, since
there is no reason to keep them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from gateway import __version__
from gateway.errors import Cause, GatewayError
from gateway.fitten.tools.reading.interpretation import CALLS, RESULTS, WRAPPERS
from gateway.fitten.tools.reading.native_notations import NATIVE_NOTATIONS
from gateway.fitten.tools.record import (
    FORMAT,
    AnswerPart,
    AnswerRecord,
    Hide,
    RawKind,
    record_tools,
)
from gateway.generation import token_estimate
from gateway.generation.markdown import MarkdownState
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import GenerationRequest

MAX_TEXT = 256 * 1024
"""The most bytes of an answer's text that are kept: of a longer one, beginning and end."""

REASONS = ("unreadable", "marker_leaked", "empty", "loop", "error")
"""Why an answer is kept."""

_PART = 1024  # characters; a longer piece is kept in parts
_MARGIN = 4096  # characters beside a cut that are dropped: a secret there is not whole
_MAX_CAME_OUT = 1000
_MAX_MARKERS = 1000  # markers at line starts that are looked at
# Errors of the answer itself, not of the connection.
_READING: frozenset[Cause] = frozenset(
    (
        *("upstream_invalid_response", "upstream_repetition", "upstream_too_long"),
        "upstream_truncated",
    )
)

_WORD_END = r"(?=[\s>/=]|\Z)"
_VALUE = r"[A-Z2-9]{4,16}"  # as the model writes it, who may have changed it
_BAR = "[|｜]"


def _pattern_of(words: Iterable[str], starts: str) -> str:
    """Return a pattern of the words that start with one of these characters."""
    marks = {re.escape(word) for word in words if word[0] in starts}
    patterns = [mark.replace(r"\|", _BAR).replace("_", "[_▁]") for mark in sorted(marks)]
    return f"(?i:{'|'.join(patterns)})"


def _native_words() -> Iterator[str]:
    for notation in NATIVE_NOTATIONS:
        yield from (*notation.opens, *notation.closes, *notation.separators)
        yield from (*notation.sections, *notation.section_ends)
        if form := notation.parameters:
            yield from (form.opens, *form.separators, form.closes)


_NATIVE_OPENING = _pattern_of([w for row in NATIVE_NOTATIONS for w in row.beginnings], "<[")
# Without words in brackets: `[args]` may be a link in Markdown.
_NATIVE_OTHER = _pattern_of(_native_words(), "<")
_ROLE_MARK = rf"<{_BAR}[^\s<>|｜]{{1,64}}{_BAR}>"
_OPENING = (
    rf"<(?:\w{{1,16}}:)?(?i:{'|'.join((*WRAPPERS, *CALLS))}){_WORD_END}"
    rf"|<call-{_VALUE}\b|{_NATIVE_OPENING}|<function=|\[(?i:{'|'.join(WRAPPERS)})\]"
)
_OTHER = (
    rf"</?(?:\w{{1,16}}:)?(?i:{'|'.join((*WRAPPERS, *CALLS, *RESULTS))}){_WORD_END}"
    rf"|</?(?:call|arg|result|tools)-{_VALUE}\b|</(?:arg|call|function|parameter)>"
    rf"|<arg [^\s<>]{{1,128}}>|{_NATIVE_OTHER}"
)
_LINE_START = r"(?:\A|\n)[^\S\n]{0,64}"
_TOOL_MARKERS = re.compile(rf"{_LINE_START}(?:(?P<opening>{_OPENING})|{_OTHER}|{_ROLE_MARK})")
_ROLE_MARKERS = re.compile(rf"{_LINE_START}(?:(?P<opening>(?!)))?{_ROLE_MARK}")


class BoundedPieces:
    """Keeps pieces up to a size in bytes: the first ones up to half of it, and the last."""

    def __init__(self, most: int = MAX_TEXT) -> None:
        self._first: list[Piece] = []
        self._last: deque[tuple[Piece, int]] = deque()
        self._first_left = self._last_left = most // 2
        self.left_out = 0

    def add(self, pieces: Sequence[Piece]) -> None:
        """Add pieces behind the others."""
        for kind, text in pieces:
            for start in range(0, len(text), _PART):
                self._add((kind, text[start : start + _PART]))

    def _add(self, piece: Piece) -> None:
        size = token_estimate.size(piece[1])
        if not self._last and size <= self._first_left:
            self._first.append(piece)
            self._first_left -= size
            return
        self._last.append((piece, size))
        self._last_left -= size
        while self._last_left < 0:
            _, size = self._last.popleft()
            self._last_left += size
            self.left_out += size

    def joined(self) -> tuple[list[Piece], list[Piece]]:
        """Return what was kept, neighbours of one kind joined: before the cut, and behind it.

        The second list is empty if nothing was left out.
        """
        last = [piece for piece, _ in self._last]
        if not self.left_out:
            return _join([*self._first, *last]), []
        return _join(self._first), _join(last)


class DeliveredPieces:
    """Describes what a client got; `entries` has the form of `AnswerRecord.came_out`.

    has_answer: whether there has been a call, or text that is not blank.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[str, str | int]] = []
        self.has_answer = False

    def add(self, pieces: Sequence[Piece]) -> None:
        """Add pieces behind the others."""
        for kind, text in pieces:
            self.has_answer = self.has_answer or (kind != "reasoning" and not text.isspace())
            last, size = self.entries[-1] if self.entries else ("", 0)
            if kind == last and isinstance(size, int):
                self.entries[-1] = (kind, size + len(text))
            elif len(self.entries) < _MAX_CAME_OUT:
                self.entries.append((kind, text if kind == "call" else len(text)))


class AnswerRecorder:
    """Collects an answer; a record of it is made only if there is a reason.

    request: what was asked; its messages are not looked at.
    submit: called at the end with this object if there is a reason, or perhaps one.
    model, key, notation, block, request_id: see `AnswerRecord`.
    part: which part of the answer this is.

    `receive` takes what the model wrote, `deliver` what the client gets of it.
    """

    def __init__(
        self,
        request: GenerationRequest,
        submit: Callable[[AnswerRecorder], None],
        *,
        model: str,
        key: str,
        notation: str,
        block: str | None = None,
        request_id: str | None = None,
        part: AnswerPart | None = None,
    ) -> None:
        self._tools = {tool.name: tool for tool in request.offered}
        self._parallel, self._streamed = request.parallel_tool_calls, request.stream
        self._max_tokens, self._stop_strings = request.max_tokens, len(request.stop)
        self._submit = submit
        self._model, self._key, self._notation = model, key, notation
        self._block, self._request_id = block, request_id
        self._part = part or AnswerPart()
        self._repaired = self._part.repaired
        self._raw = BoundedPieces()
        self._sent = BoundedPieces()
        self._delivered = DeliveredPieces()
        self._reasons: list[str] = []
        self._error: str | None = None
        self._finish_reason: FinishReason | None = None
        self._markers = _TOOL_MARKERS if self._tools else _ROLE_MARKERS

    def receive(self, pieces: Sequence[Piece]) -> None:
        """Take pieces of text that the model wrote, before anything is read out of them."""
        self._raw.add(pieces)

    def deliver(self, pieces: Sequence[Piece]) -> None:
        """Take pieces that the client gets."""
        self._sent.add([piece for piece in pieces if piece[0] == "content"])
        self._delivered.add(pieces)

    def close(
        self,
        *,
        finish_reason: FinishReason | None,
        stopped: bool,
        error: BaseException | None,
        unreadable: bool = False,
        repaired: str | None = None,
        loop: int = 0,
    ) -> None:
        """End the answer, and submit it if there may be a reason to keep it.

        finish_reason: None for an answer that is not whole.
        stopped: whether a stop string of the client ended it.
        error: what ended an answer that failed.
        unreadable: whether there was a block that looked like a call and could not be read.
        repaired: why another part follows, which repairs this one.
        loop: how often the conversation has repeated the same call with the same result.
        """
        self._finish_reason = finish_reason
        self._repaired = self._repaired or repaired
        if unreadable:
            self._reasons.append("unreadable")
        # The text of a part that is not sent may still be there.
        all_sent = (self._repaired or repaired) in (None, "empty") and not stopped
        if finish_reason == "stop" and all_sent and not self._delivered.has_answer:
            self._reasons.append("empty")
        if loop:
            self._reasons.append("loop")
        self._error = _reading_error(error)
        if self._error is not None and self._raw.joined()[0]:
            self._reasons.append("error")
        if self._reasons or any(self._markers.search(text) for text in self._sent_texts()):
            self._submit(self)

    def record(self, time: str, hide: Hide) -> AnswerRecord | None:
        """Return the record; None if there is no reason for one.

        It may take some time. time: see `AnswerRecord`. hide: masks the secrets in a text.
        """
        reasons = self._reasons + [r for r in self._leaks() if r not in self._reasons]
        if not reasons:
            return None
        masked = False

        def hidden(text: str) -> str:
            nonlocal masked
            shown = hide(text)
            masked = masked or shown != text
            return shown

        tools, schemas_left_out = record_tools(self._tools.values(), hidden)
        raw = self._hidden_raw(hidden)
        came_out = [
            (kind, hidden(value) if isinstance(value, str) else value)
            for kind, value in self._delivered.entries
        ]
        return AnswerRecord(
            format=FORMAT,
            gateway=__version__,
            time=time,
            request_id=self._request_id,
            key=self._key,
            model=self._model,
            notation=self._notation,
            block=self._block,
            reasons=reasons,
            error=self._error if "error" in reasons else None,
            finish_reason=self._finish_reason,
            raw=raw,
            masked=masked,
            tools=tools,
            schemas_left_out=schemas_left_out,
            parallel=self._parallel,
            streamed=self._streamed,
            max_tokens=self._max_tokens,
            stop_strings=self._stop_strings,
            came_out=came_out,
            repairable=self._part.repairable,
            repaired=self._repaired,
            part=self._part.number,
            continues=hidden(self._part.continues),
        )

    def _sent_texts(self) -> list[str]:
        """Return the text that the client got, in one part, or in two beside a cut."""
        return ["".join(text for _, text in part) for part in self._sent.joined() if part]

    def _leaks(self) -> list[str]:
        """Return the reasons that the text which the client got is for."""
        found = set()
        for text in self._sent_texts():
            for opening in _markers_outside_code(text, self._markers):
                if not opening:
                    found.add("marker_leaked")
                elif self._finish_reason != "length":  # else the limit cut a call
                    found.add("unreadable")
        return sorted(found, reverse=True)

    def _hidden_raw(self, hide: Hide) -> list[tuple[RawKind, str]]:
        """Return what the model wrote, without secrets and in its bounds."""
        parts: list[list[tuple[RawKind, str]]] = [
            [("reasoning" if kind == "reasoning" else "content", hide(text)) for kind, text in part]
            for part in self._raw.joined()
        ]
        before, behind = parts
        if not behind:
            return before
        left_out = self._raw.left_out
        for part, place, kept in (
            (before, -1, slice(None, -_MARGIN)),
            (behind, 0, slice(_MARGIN, None)),
        ):
            if part:
                kind, text = part[place]
                part[place] = (kind, text[kept])
                left_out += token_estimate.size(text) - token_estimate.size(text[kept])
        return [*before, ("cut", str(left_out)), *behind]


def _markers_outside_code(text: str, markers: re.Pattern[str]) -> list[bool]:
    """Return for each marker outside code whether it begins a call."""
    state, done = MarkdownState(), 0
    found: list[bool] = []
    for count, match in enumerate(markers.finditer(text)):
        if count >= _MAX_MARKERS:
            break
        start = match.start() + (text[match.start()] == "\n")
        state.advance(text[done:start])
        done = start
        if not state.in_code:
            found.append(match["opening"] is not None)
    return found


def _reading_error(error: BaseException | None) -> str | None:
    """Return the name of an error in the answer itself, or in our reading of it."""
    if isinstance(error, GatewayError):
        return error.cause if error.cause in _READING else None
    if isinstance(error, Exception) and not isinstance(error, OSError):
        return type(error).__name__
    return None


def _join(pieces: Sequence[Piece]) -> list[Piece]:
    texts: list[tuple[Piece, list[str]]] = []
    for piece in pieces:
        if texts and texts[-1][0][0] == piece[0]:
            texts[-1][1].append(piece[1])
        else:
            texts.append((piece, [piece[1]]))
    return [(first[0], "".join(parts)) for first, parts in texts]
