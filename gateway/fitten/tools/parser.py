"""An answer's text -> text and calls, as it arrives. No I/O.

Text goes out at once; what may still become a call waits until it is one, or is none and
goes out as it is. The result does not depend on how the text was cut into pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from gateway.fitten.tools.grammar import CallGrammar
from gateway.fitten.tools.interpretation import ParsedCall, ToolInterpreter
from gateway.fitten.tools.text_reader import (
    MAX_HELD,
    MAX_WASTED,
    NotFoundHere,
    Reading,
    TextReader,
    TooLongToHold,
)
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool

PIECE = 128
"""The most characters of arguments in one piece."""

_MAX_BLANK = 4096
_SIGNS = re.compile(r"[<\[{`]")
_TICKS = re.compile("`+")
_DOCUMENTS = ("<?xml", "<!doctype", "<html")


class ToolParser:
    """Pieces in, pieces out, for an answer whose model was offered tools.

    parallel: whether more than one call may come out; further ones are left out then.

    The same call again is left out, and so are results that the model made up. White space
    round calls that is not part of a text is left out too. A fence of Markdown is read for
    calls only if it holds nothing else; inline code never is.
    """

    def __init__(self, tools: Sequence[Tool], *, parallel: bool = True) -> None:
        self._grammar = CallGrammar(ToolInterpreter(tools))
        self._parallel = parallel
        self._source = TextReader()
        self._reading = self._read()
        self._out: list[Piece] = []
        self._text: list[str] = []
        self._blank: str | None = ""  # white space not yet known to be part of a text
        self._line = ""  # what stands before it in its line, as far as it matters
        self._ticks = 0  # how many runs of ticks stand there; behind an odd one is inline code
        self._in_ticks = False
        self._fence = 0  # of how many ticks the fence is in which the text is
        self._lone_tags = True
        self._seen: set[tuple[str, str]] = set()

    @property
    def called(self) -> bool:
        """Whether a call came out."""
        return bool(self._seen)

    def feed(self, pieces: Sequence[Piece]) -> list[Piece]:
        """What of these pieces may go out now."""
        for kind, text in pieces:
            if kind == "content":
                self._source.text += text
                next(self._reading)
                self._speak()
            else:
                self._out.append((kind, text))
        return self._taken()

    def flush(self) -> list[Piece]:
        """What was held back, once it is known that no more will come."""
        self._source.ended = True
        next(self._reading, None)
        if self._blank and not self._seen:
            self._text.append(self._blank)
        self._blank = None
        return self._taken()

    def _taken(self) -> list[Piece]:
        self._speak()
        out, self._out = self._out, []
        return out

    def _speak(self) -> None:
        if self._text:
            self._out.append(("content", "".join(self._text)))
            self._text = []

    def _read(self) -> Reading[None]:
        """The whole answer. Text up to the next sign goes out, then the sign is looked at."""
        source = self._source
        while True:
            sign = _SIGNS.search(source.text, source.at)
            self._emit((sign.start() if sign else len(source.text)) - source.at)
            if sign is not None:
                if not (self._may_begin(sign[0]) and (yield from self._attempt(sign[0]))):
                    self._emit(1)
            elif source.ended:
                return
            else:
                source.begin()
                yield

    def _may_begin(self, sign: str) -> bool:
        """Whether a call, a result or a fence may begin with this sign at this place."""
        if self._source.wasted > MAX_WASTED:
            return False
        if sign == "`":
            return not self._line.strip()
        return not self._fence and self._ticks % 2 == 0

    @property
    def _at_margin(self) -> bool:
        """Whether this is a line's beginning, or all before it are blanks that may go."""
        return not self._line or self._blank is not None

    def _attempt(self, sign: str) -> Reading[bool]:
        """Whether what begins here went out, be it as calls or as text."""
        source = self._source
        start = source.begin()
        try:
            if sign == "`":
                yield from self._fence_line(start)
            else:
                if sign == "<":
                    yield from self._look_for_document()
                self._call((yield from self._calls_or_results(start)))
        except TooLongToHold:
            source.at = start
            self._emit(MAX_HELD)
        except NotFoundHere:
            source.wasted += source.at - start
            source.at = start
            return False
        return True

    def _calls_or_results(self, start: int) -> Reading[list[ParsedCall]]:
        source = self._source
        # Between other tags, or set in from the margin, it is part of a document.
        lone = self._lone_tags and (self._at_margin or bool(self._line.strip(" \t>")))
        try:
            return (yield from self._grammar.block(source, lone=lone, json=self._at_margin))
        except TooLongToHold:
            raise
        except NotFoundHere:
            source.back(start)
        finished = yield from self._grammar.results(source)
        if not finished and not self._seen:
            raise NotFoundHere
        return []

    def _look_for_document(self) -> Reading[None]:
        """In a document that the caller asked for, a tag that is a tool's name is no call."""
        for word in _DOCUMENTS:
            if (yield from self._source.follows(word)):
                self._lone_tags = False

    def _fence_line(self, start: int) -> Reading[None]:
        """The ticks at a line's beginning: a fence opens or closes, or is nothing but calls."""
        source = self._source
        ticks = len((yield from source.while_in("`".__eq__, MAX_HELD)))
        if self._fence:
            closes = ticks >= self._fence and (yield from source.peek()) in ("", *" \t\r\n")
            self._fence = 0 if closes else self._fence
        elif ticks >= 3:
            try:
                self._call((yield from self._grammar.fenced(source, ticks)))
                return
            except NotFoundHere as failure:
                self._fence = ticks
                if isinstance(failure, TooLongToHold):
                    raise
                source.wasted += source.at - start
        source.at = start
        self._emit(ticks)

    def _emit(self, count: int) -> None:
        """Let so many characters go out as text."""
        source = self._source
        text = source.text[source.at : source.at + count]
        if not text:
            return
        source.at += len(text)
        line_end = text.rfind("\n") + 1
        line = text[line_end:]
        runs = len(_TICKS.findall(line))
        if not line_end:
            runs += self._ticks - (self._in_ticks and line[0] == "`")
        self._ticks, self._in_ticks = runs, line[-1:] == "`"
        if line_end or line:
            self._line = _essence(line if line_end else self._line + line)
        if self._blank is not None:
            self._blank += text
            if text.isspace() and len(self._blank) <= _MAX_BLANK:
                return
            text, self._blank = self._blank, None
        self._text.append(text)

    def _call(self, calls: Sequence[ParsedCall]) -> None:
        """Let calls go out that are new; white space next to them goes with them."""
        for call in calls:
            same = json.dumps(json.loads(call.arguments), sort_keys=True)
            if (call.name, same) in self._seen or (self._seen and not self._parallel):
                continue
            self._seen.add((call.name, same))
            self._speak()
            self._out.append(("call", call.name))
            for start in range(0, len(call.arguments), PIECE):
                self._out.append(("arguments", call.arguments[start : start + PIECE]))
        self._blank, self._line, self._ticks, self._in_ticks = "", "", 0, False


def _essence(line: str) -> str:
    """As much of a line as matters: a blank for blanks, else its last other character."""
    return line.rstrip()[-1:] or line[:1]
