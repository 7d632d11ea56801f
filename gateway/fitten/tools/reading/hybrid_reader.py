"""Reads a call in the hybrid notation while it arrives, and passes its parts on at once. No I/O.

The name goes on when its line is complete, the line of JSON when it is whole, a long text as it
comes. Held back is only what may become the end of a block. That end carries the value of the
conversation, which no text of the request has, so nothing else can be it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Literal

from gateway.fitten.tools.reading.interpretation import ToolInterpreter
from gateway.fitten.tools.reading.text_reader import (
    MAX_CREDIT,
    MAX_HELD,
    NotFoundHere,
    Reading,
    TextReader,
    TooLongToHold,
)
from gateway.generation.pieces import Kind

_MAX_LINE = 400  # characters of the opening line of a call or of a text
_LINE_END = re.compile(r"[>\n]")
_LABEL = re.compile(r"(?:-\w{1,16}\s)?\s*(?:name\s*=\s*)?[\"'“]?([^\s\"'“”]+)")
_END = re.compile(r"</(arg|call)(?:-\w{0,16})?>")  # with the value, with another one or without
_PART_OF_END = re.compile(r"</(?:a|ar|c|ca|cal|(?:arg|call)(?:-\w{0,16})?)?\Z")
_LONGEST_PART = len("</call-") + 16
# An end without the value ends a text only if nothing but the rest of a call follows it.
_BARE_END = re.compile(r"\n?</(arg|call)(?:-\w{0,16})?>(?=\s*(?:</?arg|</?call|\Z))")
_BARE_END_OF_TEXT = re.compile(_BARE_END.pattern.replace("(arg|call)", "(arg)", 1))
_LAST_BARE_END = re.compile(r"</(?:arg|call)(?:-\w{0,16})?>\s*(?:</call(?:-\w{0,16})?>\s*)?\Z")
# A call that stands in one object beside its name, as in other notations.
_NAMED_CALL = ({"name", "arguments"}, {"name", "parameters"}, {"name", "input"})
_encode = json.JSONEncoder(ensure_ascii=False).encode


class Malformed(Exception):
    """Reports that a call has begun, and that what follows cannot be part of it."""


class HybridCallReader:
    """Reads one call, of which the words before its name have been read.

    value: what marks the blocks.
    emit: called with the pieces of the call as they become certain.
    eager: whether the name is passed on at once, not with the first argument.

    begun: whether the name has been passed on.
    """

    def __init__(
        self,
        source: TextReader,
        interpreter: ToolInterpreter,
        value: str,
        emit: Callable[[Kind, str], None],
        *,
        eager: bool = True,
    ) -> None:
        self._eager = eager
        self._source = source
        self._interpreter = interpreter
        # Blocks of which only the model knows the value: they can be in no text.
        self._next_blocks = (f"<call-{value} ", f"<result-{value} ")
        next_blocks = rf"(?<=\n)<(?:call|result)-{value}\s"
        self._mark = re.compile(rf"</(arg|call)-{value}>|{next_blocks}")
        self._any_mark = re.compile(rf"{_END.pattern}|{next_blocks}")
        self._emit = emit
        self._tool = ""
        self._given: set[str] = set()
        self._open: Literal["nothing", "json", "text"] = "nothing"  # which argument is open
        self._line_end = False  # whether the line end before a text has yet to be left out
        self.begun = False

    @property
    def may_end(self) -> bool:
        """Return whether the call is complete if the answer ends here, even without its end."""
        source = self._source
        if not self._tool or source.cut or self._open == "json":
            return False
        if self._open == "text":
            return _LAST_BARE_END.search(source.text, source.at) is not None
        rest = source.text[source.at :].strip()
        return not rest and self._interpreter.required(self._tool) <= self._given

    def read(self) -> Reading[bool]:
        """Read the call; return whether it is whole, False if the answer ended within it.

        Raises NotFoundHere if it is no call of an offered tool, before anything was passed on,
        and Malformed after that.
        """
        source = self._source
        name = yield from self._read_label()
        tool = self._interpreter.tool_name(name)
        if tool is None:
            raise NotFoundHere
        self._tool = tool
        if (yield from self._rest_of_line()) not in ("\n", "{", "<", ""):
            raise NotFoundHere
        source.credit = MAX_CREDIT  # only the model can open such a block
        if self._eager:
            self._begin()
        try:
            whole = yield from self._read_arguments()
        except TooLongToHold:
            if not self.begun:
                raise
            raise Malformed from None
        except NotFoundHere:
            if not self.begun:
                raise
            if not source.ended:
                raise Malformed from None
            whole = False
        if not whole:
            if not self.begun:
                raise NotFoundHere
            source.at = len(source.text)  # what is held back is part of the call, and no text
        return whole

    def _read_arguments(self) -> Reading[bool]:
        source = self._source
        while True:
            self._open = "nothing"
            yield from source.skip_white_space()
            if self.begun:
                source.begin()
            character = yield from source.peek()
            if not character:
                return self.may_end and self._end()
            if character == "{":
                self._open = "json"
                yield from self._read_json()
            elif (yield from source.follows("<arg ")) or (yield from source.follows("<arg-")):
                self._open = "text"
                source.at += 4
                if not (yield from self._read_text()):
                    return False
            elif (yield from self._next_block_follows()):
                return self._end()  # its own end was forgotten
            elif character != "<" and self._bare_argument is not None:
                self._open, self._line_end = "text", False
                if not (yield from self._read_bare_text(self._bare_argument)):
                    return False
            elif (yield from self._read_end()) == "call":
                return self._end()

    def _next_block_follows(self) -> Reading[bool]:
        for block in self._next_blocks:
            if (yield from self._source.follows_exactly(block)):
                return True
        return False

    def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            self._emit("call", self._tool)

    def _end(self) -> bool:
        self._begin()
        self._emit("arguments", "}" if self._given else "{}")
        return True

    def _read_label(self) -> Reading[str]:
        """Read a blank, a name and `>`; return the name."""
        source = self._source
        while (found := _LINE_END.search(source.text, source.at, source.at + _MAX_LINE)) is None:
            if len(source.text) - source.at >= _MAX_LINE:
                raise NotFoundHere
            if not (yield from source.wait_for_text()):
                raise NotFoundHere
        label = _LABEL.match(source.text, source.at, found.start())
        source.at = found.end() - (found[0] == "\n")
        if label is None:
            raise NotFoundHere
        return label[1]

    def _rest_of_line(self) -> Reading[str]:
        """Skip blanks; return the next character."""
        source = self._source
        while (character := (yield from source.peek())) and character in " \t\r":
            source.at += 1
        return character

    def _read_json(self) -> Reading[None]:
        text = yield from self._source.read_json()
        arguments = self._interpreter.object_of(text)
        if set(arguments) in _NAMED_CALL and not self._interpreter.has_arguments(
            self._tool, arguments
        ):
            inner = next(value for name, value in arguments.items() if name != "name")
            if isinstance(inner, str):
                inner = self._interpreter.object_of(inner)
            if not isinstance(inner, dict):
                raise NotFoundHere
            arguments = inner
        for name, value in self._interpreter.encoded(self._tool, arguments):
            self._open_argument(name, value)

    def _open_argument(self, name: str, value: str) -> None:
        """Pass on an argument with the beginning of its value, unless it was given already."""
        if name not in self._given:
            self._begin()
            comma = "," if self._given else "{"
            self._given.add(name)
            self._emit("arguments", f"{comma}{_encode(name)}:{value}")

    @property
    def _bare_argument(self) -> str | None:
        """Return the argument of a tool that takes one text, if it was not given yet."""
        name = self._interpreter.text_argument(self._tool)
        return None if name in self._given else name

    def _read_bare_text(self, name: str) -> Reading[bool]:
        """Read the text of a tool that takes one text, written without a block of its own."""
        self._open_argument(name, '"')
        if not (yield from self._read_raw(self._emit_text)):
            return False
        self._emit("arguments", '"')
        return True

    def _emit_text(self, text: str) -> None:
        """Pass on a part of a text."""
        if text:
            self._emit("arguments", _encode(text)[1:-1])

    def _read_text(self) -> Reading[bool]:
        """Read an argument in a block of its own; return whether it has an end."""
        source = self._source
        name = self._interpreter.argument_name(self._tool, (yield from self._read_label()))
        if source.text[source.at - 1] != ">":
            raise NotFoundHere
        start = source.at
        self._line_end = (yield from self._rest_of_line()) == "\n"
        if not self._line_end:
            source.at = start  # the text stands in the same line, with its blanks
        repeated = name in self._given
        if self._interpreter.takes_text(self._tool, name):
            self._open_argument(name, '"')

            def pass_on(text: str) -> None:
                if not repeated:
                    self._emit_text(text)

            if not (yield from self._read_raw(pass_on)):
                return False
            if not repeated:
                self._emit("arguments", '"')
            return True
        self._begin()
        parts: list[str] = []
        size = 0

        def keep(text: str) -> None:
            nonlocal size
            size += len(text)
            if size > MAX_HELD:
                raise TooLongToHold
            parts.append(text)

        if not (yield from self._read_raw(keep)):
            return False
        (encoded,) = self._interpreter.encoded(self._tool, {name: "".join(parts)})
        self._open_argument(*encoded)
        return True

    def _read_raw(self, take: Callable[[str], None]) -> Reading[bool]:
        """Read a raw text up to its end; return False when the answer ended within it."""
        source = self._source
        source.begin()
        searched, bare = source.at, True
        while True:
            mark = self._any_mark.search(source.text, searched)
            if mark is None:
                self._pass_on(self._start_of_part(), take)
                if not (yield from source.wait_for_text()):
                    return self._end_bare(take)
                searched = source.at
                continue
            if not self._mark.match(source.text, mark.start()):
                if not bare:
                    searched = mark.end()
                    continue
                self._pass_on(self._line_end_before(mark.start()), take)
                try:
                    mark = yield from self._find_mark()
                except TooLongToHold:
                    searched, bare = source.at, False  # the text is too long to wait for its end
                    source.begin()
                    continue
            if mark is None:
                return self._end_bare(take)
            self._close_text(mark, take)
            return True

    def _start_of_part(self) -> int:
        """Return from where on the end of the text may become a mark."""
        text, at = self._source.text, self._source.at
        start = text.rfind("<", max(at, len(text) - _LONGEST_PART))
        part = text[start:] if start >= 0 else ""
        if not _PART_OF_END.match(part) and not any(
            block.startswith(part) for block in self._next_blocks
        ):
            part = ""
        return self._line_end_before(len(text) - len(part))

    def _line_end_before(self, place: int) -> int:
        source = self._source
        return place - (place > source.at and source.text[place - 1] == "\n")

    def _take(self, end: int, take: Callable[[str], None]) -> None:
        """Take the text up to a place, without the line end before the text."""
        source = self._source
        if end > source.at:
            take(source.text[source.at + self._line_end : end])
            self._line_end = False

    def _pass_on(self, end: int, take: Callable[[str], None]) -> None:
        self._take(end, take)
        self._source.at = max(end, self._source.at)
        self._source.begin()

    def _find_mark(self) -> Reading[re.Match[str] | None]:
        """Return the next mark that is in no text; None when the answer has none."""
        source = self._source
        start = source.at
        while (mark := self._mark.search(source.text, start)) is None:
            start = max(start, len(source.text) - _LONGEST_PART)
            if not (yield from source.wait_for_text()):
                return None
        return mark

    def _close_text(self, mark: re.Match[str], take: Callable[[str], None]) -> None:
        """Take the rest of the text before a mark, and move behind the end of the text."""
        source = self._source
        end = self._line_end_before(mark.start())
        if mark[1] == "arg":
            self._take(end, take)
            source.at = mark.end()
        elif bare := _BARE_END_OF_TEXT.search(source.text, source.at, end):
            self._close_bare(bare, take)
        else:
            self._take(end, take)
            source.at = mark.start()

    def _end_bare(self, take: Callable[[str], None]) -> bool:
        """Take an end without the value for the end, since the answer has no other one."""
        bare = _BARE_END.search(self._source.text, self._source.at)
        if bare is None or self._source.cut:
            self._take(self._start_of_part(), take)
            return False
        self._close_bare(bare, take)
        return True

    def _close_bare(self, bare: re.Match[str], take: Callable[[str], None]) -> None:
        source = self._source
        self._take(bare.start(), take)
        source.at = bare.start() if bare[1] == "call" else bare.end()

    def _read_end(self) -> Reading[str]:
        """Read the end of a text or of the call, with or without the value; return which."""
        source = self._source
        if (yield from source.peek()) != "<":
            raise NotFoundHere
        yield from self._find_line_end()
        found = _END.match(source.text, source.at)
        if found is None:
            raise NotFoundHere
        source.at = found.end()
        return found[1]

    def _find_line_end(self) -> Reading[None]:
        source = self._source
        while _LINE_END.search(source.text, source.at, source.at + _MAX_LINE) is None:
            if len(source.text) - source.at >= _MAX_LINE:
                raise NotFoundHere
            if not (yield from source.wait_for_text()):
                raise NotFoundHere
