"""Finds the tool calls in the text of an answer while it arrives. No I/O.

Text is passed on at once. Text that may become a call is held back until it is a call, or
cannot become one and is passed on. The result does not depend on how the text is split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from gateway.fitten.tools.reading import native_reader
from gateway.fitten.tools.reading.grammar import CallGrammar
from gateway.fitten.tools.reading.hybrid_reader import HybridCallReader, Malformed
from gateway.fitten.tools.reading.interpretation import ParsedCall, ToolInterpreter
from gateway.fitten.tools.reading.line_state import LineState
from gateway.fitten.tools.reading.native_reader import MAX_CALLS
from gateway.fitten.tools.reading.parser_output import ParserOutput
from gateway.fitten.tools.reading.text_reader import (
    ATTEMPT,
    MAX_HELD,
    NotFoundHere,
    Reading,
    TextReader,
    TooLongToHold,
)
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool

_CALL = 200  # what a call costs, besides what it reads; see `TextReader.spend`
# What may start a block: a tag or a special token, brackets with a word, JSON at the beginning of
# a line, a fence at the beginning of a line. JSON and fences may also follow at once; see
# `_LEADING`.
_STARTS = re.compile(
    r"<(?=[\w|｜]|\?[xX]|![dD]|[?!]?\Z)"
    r"|\[(?=[A-Za-z_]|\Z)|\n(?:[\[{]|[^\S\n]*+[`~])"
)
_FENCE_LINES = re.compile(r"\n[^\S\n]*+[`~]")
_FENCE_OPENING = re.compile(r"(?:`{3,}|~{3,})[^\n]*\n\s*")
_FENCE_END = re.compile(r"\n[^\S\n]*(?:`{3,}|~{3,})\s*\Z")
_LEADING = re.compile(r"\s*+[\[{]")
_LEADING_FENCE = re.compile(r"[^\S\n]*+[`~]")
_CALL_OPENING = re.compile(
    r"<[|｜]?(?!\w+_(?:result|response))(?:tool|function|invoke)[^\n]{0,40}[>=｜|]", re.IGNORECASE
)
_JSON_OPENING = "<tool_call>"
_LONGEST_OPENING = 16
_SHORTEST_OPENING = len("<call")
_QUOTED = 500  # what it costs to look for a call in the request, besides the length of that
_LISTED = re.compile(r"(?=\[tool_calls?\])", re.IGNORECASE)
_DOCUMENTS = ("<?xml", "<!doctype", "<html")
_THOUGHTS = ("<think>", "<thinking>", "<thought>")
_THOUGHTS_END = re.compile("</(?:think|thinking|thought)>", re.ASCII | re.IGNORECASE)
_LONGEST_START = 256  # characters that decide whether a block may begin
_ANY_CHARACTERS = "\0\u0298"  # in no word of a notation; only the second may be in a name
_LONGEST_END = len("</thinking>")


def _beginning(word: str) -> str:
    """Return a pattern for a word, or for as much of it as the text has come."""
    pattern = ""
    for character in reversed(word):
        pattern = re.escape(character) + (f"(?:{pattern}|\\Z)" if pattern else "")
    return pattern


_PART_START = re.compile("|".join(map(_beginning, (*_DOCUMENTS, *_THOUGHTS))), re.IGNORECASE)


class ToolParser:
    """Converts pieces of text into pieces of text and calls, for a request with tools.

    parallel: whether an answer may have several calls. If not, only the first is passed on.
    value: what marks the blocks of the hybrid notation, if the prompt asks for that one.
    quoted: returns whether a text stands in what the client sent. Such a text is no call: the
        model may quote a file or a page.
    eager: whether the name of a call in the hybrid notation is passed on at once. If not, it is
        passed on with the first argument, so that a call without a valid line of JSON is withheld.
    repairable: whether a call of ours that cannot be read is withheld, with all text behind it.
        Then it can be asked for once more.

    Left out are: a call that repeats an earlier one, tool results that the model made up, and
    white space between calls. A Markdown fence counts as calls only if it holds nothing else.
    Inline code never counts as calls, nor does what the model thinks in `<think>`. Calls in the
    hybrid notation are passed on as they come.

    cut_call: the number of the first call that has begun and is not whole.
    answered: whether the model has written a result, so that nothing behind that is part of the
        answer.
    unreadable: whether a call in the notation that was asked for could not be read, or broke off
        by itself. A limit that cuts a call off does not count.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        *,
        parallel: bool = True,
        value: str | None = None,
        quoted: Callable[[str], bool] = lambda _: False,
        eager: bool = True,
        repairable: bool = False,
    ) -> None:
        self._eager = eager
        self._tools = tools
        self._interpreter = ToolInterpreter(tools)
        self._grammar = CallGrammar(self._interpreter, value)
        self._value = value
        self._is_quoted = quoted
        self._source = TextReader()
        self._reading = self._read()
        self._output = ParserOutput(parallel=parallel)
        self._line = LineState()
        self._fence = ""  # the backticks or tildes that opened the Markdown fence; "" outside
        self._thinks = False  # whether the text is within `<think>`
        self._lone_tags = True  # whether the tag of a tool's name alone counts as a call
        self._call: HybridCallReader | None = None  # the call that is being read
        self._attempt: int | None = None  # where the block begins that is being read
        self._may_withhold = repairable
        self._withholds = False
        self.cut_call: int | None = None
        self.answered = False
        self.unreadable = False

    @property
    def called(self) -> bool:
        """Return whether the answer has had a call so far."""
        return self._output.calls > 0

    @property
    def fault(self) -> Literal["cut", "form"] | None:
        """Return what keeps the answer from being whole if it ends here; None if nothing does.

        "cut": it would end within a call. "form": a call cannot be read, and is withheld. After a
        whole call it is None, since the client may run that call.
        """
        if self._output.calls > self.begun:
            return None
        if self._withholds:
            return "form"
        if self._call is not None:
            return None if self._call.may_end else "cut"
        held = self._held_block
        if fence := _FENCE_OPENING.match(held):
            closed = _FENCE_END.search(held, fence.end())
            held = held[fence.end() :] if self.names_tool and not closed else ""
        begins = _CALL_OPENING.match(held) or (
            len(held) > _SHORTEST_OPENING
            and (
                f"<call-{self._value}".startswith(held)
                or native_reader.may_begin(held, 0)
                or (held[0] in "[{" and '"' in held)  # JSON of a call, or it would not be held
            )
        )
        return "cut" if begins and not self._is_whole(held) else None

    @property
    def begun(self) -> bool:
        """Return whether a call has been passed on whose end has not come."""
        return self._call is not None and self._call.begun

    @property
    def open_block(self) -> str:
        """Return how the block begins within which the answer would end."""
        if self._call is not None:
            return f"<call-{self._value}"
        return self._held_block[:_LONGEST_OPENING]

    @property
    def names_tool(self) -> bool:
        """Return whether the block within which the answer would end has more than a tool's name.

        A block without a name, or with nothing behind it, may be words about the notation.
        """
        names = "|".join([re.escape(tool.name) for tool in self._tools])
        named = rf"(?<![\w-])(?:{names})(?![\w-])\s*\S"
        return re.search(named, self._held_block, re.IGNORECASE) is not None

    @property
    def _held_block(self) -> str:
        return "" if self._attempt is None else self._source.text[self._attempt :]

    def _is_whole(self, block: str) -> bool:
        """Return whether a block is a call if the answer ends behind it."""
        parser = ToolParser(self._tools)
        pieces = parser.feed([("content", block)]) + parser.flush()
        return any(kind == "call" for kind, _ in pieces)

    @property
    def unchecked(self) -> bool:
        """Return whether a call's arguments were not converted, since it takes too many steps."""
        return self._interpreter.steps.exceeded

    @property
    def holds_text(self) -> bool:
        """Return whether text is held back that may be a call."""
        return self._attempt is not None

    def feed(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return what can be passed on now, of these pieces and of the text held back."""
        for kind, text in pieces:
            if kind == "content":
                self._source.text += text
                next(self._reading)
                self._output.end_text()
            else:
                self._output.add((kind, text))
        return self._output.take()

    @property
    def at_rest(self) -> bool:
        """Return whether nothing is held back, and text without a sign of a call is only text."""
        source = self._source
        return (
            self._output.blank is None and self._attempt is None and source.at == len(source.text)
        )

    def read_past(self, text: str) -> None:
        """Read text that was passed on already, at a time when the parser was at rest."""
        self._source.text += text
        self._emit_text(len(text))
        self._source.begin()
        self._output.drop_text()

    def flush(self, *, whole: bool = True) -> list[Piece]:
        """Return what is still held back, at the end of the answer.

        whole: whether nothing is missing, so that a call may lack its end.
        """
        self._source.ended, self._source.cut = True, not whole
        next(self._reading, None)
        self._output.end()
        return self._output.take()

    def _read(self) -> Reading[None]:
        """Read the whole answer: pass on text up to the next possible start, then try to parse."""
        source = self._source
        while True:
            if self._thinks:
                yield from self._pass_thoughts()
            start = self._next_start()
            self._emit_text(start - source.at)
            if start < len(source.text):
                self._attempt = source.begin()
                found = (yield from self._is_start()) and (yield from self._try_read())
                self._attempt = None
                if not found:
                    self._emit_text(1)
            elif source.ended:
                return
            else:
                source.begin()
                yield

    def _next_start(self) -> int:
        """Return where a block may start next; the end of the text if nowhere."""
        source = self._source
        source.begin()
        text = source.text
        earliest = source.next_attempt
        first = self._leading_start(text)
        if first is not None and first >= earliest:
            return first
        starts = _FENCE_LINES if self._fence else _STARTS
        for match in starts.finditer(text, source.at):
            start = match.end() - 1
            if start >= earliest and self._is_plausible(text, start):
                return start
        return len(text)

    def _leading_start(self, text: str) -> int | None:
        """Return where JSON or backticks start, if only white space is before them."""
        at = self._source.at
        if self._line.is_blank and (match := _LEADING_FENCE.match(text, at)):
            return match.end() - 1
        if self._at_margin and not self._fence and (match := _LEADING.match(text, at)):
            start = match.end() - 1
            alone = start == at or self._output.blank is not None
            if alone and self._grammar.may_begin(text[start : start + _LONGEST_START], 0):
                return start
        return None

    def _is_start(self) -> Reading[bool]:
        """Wait for as much text as decides it; return whether to attempt to read a block here.

        Only the end of what has arrived may look like a start. With more text, there would be no
        attempt, so it costs nothing.
        """
        source = self._source
        while True:
            head = source.text[source.at : source.at + _LONGEST_START]
            if not self._is_plausible(head, 0):
                return False
            if len(head) == _LONGEST_START or source.ended:
                break
            if all(self._is_plausible(head + character, 0) for character in _ANY_CHARACTERS):
                break
            yield
        return self._may_start(head[0])

    def _is_plausible(self, text: str, start: int) -> bool:
        """Return whether an attempt to read a block may have a result."""
        head = text[start : start + _LONGEST_START]
        json = text[start - 1] == "\n" if start > self._source.at else self._at_margin
        return (
            head[0] in "`~"
            or self._grammar.may_begin(head, 0, json=json)
            or _PART_START.match(head) is not None
        )

    def _may_start(self, character: str) -> bool:
        """Return whether a call, a result or a fence may start with this character here."""
        self._source.charge(ATTEMPT)
        if character in "`~":
            return self._line.is_blank
        return not self._fence and not self._line.in_code

    @property
    def _at_margin(self) -> bool:
        """Return whether this is the beginning of a line, apart from white space that waits."""
        return not self._line.last or self._output.blank is not None

    def _try_read(self) -> Reading[bool]:
        """Read what starts here; return whether it was passed on, as calls or as text."""
        source = self._source
        start = source.begin()
        character = source.text[start]
        thinks = False
        try:
            if character in "`~":
                yield from self._read_fence_line(start, character)
            elif character == "<" and (yield from self._read_hybrid()):
                return True
            else:
                if character == "<":
                    yield from self._check_for_document()
                    thinks = yield from self._begins_thoughts()
                self._emit_calls((yield from self._read_calls_or_results(start)))
        except TooLongToHold:
            source.at = start
            self._note_unreadable_block()
            self._emit_text(MAX_HELD)
        except NotFoundHere:
            source.rewind(start)
            self._note_unreadable_block()
            self._thinks = thinks
            return False
        return True

    def _note_unreadable(self) -> None:
        """Note that a call cannot be read, unless a limit cut the answer off."""
        self.unreadable = self.unreadable or not self._source.cut

    def _note_unreadable_block(self) -> None:
        """Note that a block is not read which begins here, in the JSON notation."""
        begins = self._source.text.startswith(_JSON_OPENING, self._source.at)
        if begins and self._value is None and self._line.is_blank:
            self._note_unreadable()

    def _read_hybrid(self) -> Reading[bool]:
        """Read a call in the hybrid notation; return False if there is none."""
        source, value = self._source, self._value
        if value is None or not self._line.at_sentence:
            return False
        if (yield from source.follows_exactly(f"<result-{value}")):
            yield from self._skip_rest()
            return True
        opening = f"<call-{value}"
        if self._output.calls >= MAX_CALLS or not (yield from source.follows_exactly(opening)):
            return False
        start = source.at
        source.at += len(opening)
        self._call = HybridCallReader(
            source, self._interpreter, value, self._output.add_part, eager=self._eager
        )
        try:
            whole = yield from self._call.read()
        except Malformed:
            whole = False
        except NotFoundHere:
            source.rewind(start)
            self._note_unreadable()
            yield from self._withhold()
            return False
        finally:
            self._call = None
        if not whole:
            self.cut_call = self.cut_call or self._output.calls
            self._note_unreadable()
        self._output.blank = ""
        self._line.start_line()
        return True

    def _withhold(self) -> Reading[None]:
        """Wait for the end of the answer before a call that cannot be read is passed on as text."""
        source = self._source
        if self._may_withhold and not self._output.calls:
            self._withholds = True
            while not source.ended and len(source.text) - source.at < MAX_HELD:
                yield
            self._may_withhold = self._withholds = False

    def _skip_rest(self) -> Reading[None]:
        """Leave out the rest of the answer."""
        source = self._source
        self.answered = True
        while not source.ended:
            source.at = len(source.text)
            source.begin()
            yield
        source.at = len(source.text)

    def _read_calls_or_results(self, start: int) -> Reading[list[ParsedCall]]:
        source = self._source
        # A lone tag that is indented, or stands behind another tag, is part of a document.
        lone = self._lone_tags and (self._at_margin or bool(self._line.last.strip(" \t>")))
        native = yield from self._grammar.begins_native(source)
        try:
            calls = yield from self._grammar.read_block(source, lone=lone, json=self._at_margin)
            self._refuse_quoted(start)
            return calls
        except TooLongToHold:
            raise
        except NotFoundHere:
            source.backtrack(start)
        if native and self._line.at_part:
            try:
                return (yield from self._grammar.read_native(source, self._refuse_quoted))
            except TooLongToHold:
                raise
            except NotFoundHere:
                source.backtrack(start)
        finished = yield from self._grammar.skip_results(source)
        if not finished and not self.called:
            raise NotFoundHere
        return []

    def _refuse_quoted(self, start: int) -> None:
        """Raise NotFoundHere if the block that begins here is a quotation of the request."""
        source = self._source
        # Listings with one word before each call are read as one; each may be quoted by itself.
        parts = _LISTED.split(source.text[start : source.at])
        if all(self._is_quoted(part) for part in parts if part):
            source.charge(_QUOTED)
            raise NotFoundHere

    def _check_for_document(self) -> Reading[None]:
        """Note the start of an XML or HTML document: in it, the tag of a tool's name is no call."""
        for word in _DOCUMENTS:
            if (yield from self._source.follows(word)):
                self._lone_tags = False

    def _begins_thoughts(self) -> Reading[bool]:
        """Return whether the tag here begins thoughts, which only one at the margin does."""
        for word in _THOUGHTS:
            if (yield from self._source.follows(word)):
                return self._line.is_blank
        return False

    def _pass_thoughts(self) -> Reading[None]:
        """Pass on thoughts as text, up to the tag that ends them. No call is in them."""
        source = self._source
        while True:
            source.begin()
            if match := _THOUGHTS_END.search(source.text, source.at):
                self._emit_text(match.end() - source.at)
                self._line.start_line()
                self._thinks = False
                return
            part = source.text.rfind("<", max(source.at, len(source.text) - _LONGEST_END + 1))
            end = len(source.text) if part < 0 or source.ended else part
            self._emit_text(end - source.at)
            if source.ended:
                return
            source.begin()
            yield

    def _read_fence_line(self, start: int, mark: str) -> Reading[None]:
        """Read marks at the beginning of a line: a fence opens, closes, or holds only calls."""
        source = self._source
        marks = yield from source.read_while(mark.__eq__, MAX_HELD)
        if self._fence:
            closes = marks.startswith(self._fence)
            if closes and (yield from source.peek()) in ("", *" \t\r\n"):
                self._fence = ""
        elif len(marks) >= 3:
            try:
                # A model that quotes a call may put it in a fence of its own.
                calls = yield from self._grammar.read_fenced(source, marks, self._refuse_quoted)
                self._emit_calls(calls)
                return
            except NotFoundHere as failure:
                self._fence = marks
                if isinstance(failure, TooLongToHold):
                    raise
        source.rewind(start)
        self._emit_text(len(marks))

    def _emit_text(self, count: int) -> None:
        """Pass on so many characters as text."""
        source = self._source
        text = source.text[source.at : source.at + count]
        if not text:
            return
        source.at += len(text)
        self._line.advance(text)
        self._output.add_text(text)

    def _emit_calls(self, calls: Sequence[ParsedCall]) -> None:
        """Pass on the calls that are new; white space next to them is left out."""
        for call in calls:
            self._source.charge(_CALL)
            self._output.add_call(call)
        self._output.blank = ""
        self._line.start_line()
