"""Reads a call in the hybrid notation while it arrives, and passes its parts on at once. No I/O.

The name goes on when its line is complete, the line of JSON when it is whole, a long text as it
comes. Held back is only what may become the end of a block. That end carries the value of the
conversation, which no text of the request has, so nothing else can be it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

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
_PARTIAL_END = re.compile(r"(?:a|ar|arg|c|ca|cal|call)?\Z|(?:arg|call)-\w{0,16}\Z")
_BARE_END = re.compile(r"\n</(arg|call)(?:-\w{0,16})?>(?=\s*(?:</?arg|</?call|\Z))")
_STRAY_END = re.compile(r"</(arg|call)(?:-\w{0,16})?>")
# A call that stands in one object beside its name, as in other notations.
_NAMED_CALL = ({"name", "arguments"}, {"name", "parameters"}, {"name", "input"})
_encode = json.JSONEncoder(ensure_ascii=False).encode


class Malformed(Exception):
    """Reports that a call has begun, and that what follows cannot be part of it."""


class HybridCallReader:
    """Reads one call, of which the words before its name have been read.

    value: what marks the blocks.
    emit: called with the pieces of the call as they become certain.

    begun: whether the name has been passed on.
    """

    def __init__(
        self,
        source: TextReader,
        interpreter: ToolInterpreter,
        value: str,
        emit: Callable[[Kind, str], None],
    ) -> None:
        self._source = source
        self._interpreter = interpreter
        self._ends = (f"\n</arg-{value}>", f"\n</call-{value}>")
        self._next_call = f"<call-{value} "
        self._emit = emit
        self._tool = ""
        self._given: set[str] = set()
        self._between = False  # whether no argument is open
        self.begun = False

    @property
    def may_end(self) -> bool:
        """Return whether the call is complete if the answer ends here, even without its end."""
        if not self.begun or self._source.cut:
            return False
        if self._between and not self._source.text[self._source.at :].strip():
            return self._interpreter.required(self._tool) <= self._given
        return self._between_bare_ends()

    def read(self) -> Reading[bool]:
        """Read the call; return whether it is whole, False if the answer ended within it.

        Raises NotFoundHere if it is no call of an offered tool, before anything was passed on,
        and Malformed after that.
        """
        source = self._source
        source.credit = MAX_CREDIT  # only the model can open such a block
        name = yield from self._read_label()
        tool = self._interpreter.tool_name(name)
        if tool is None or (yield from self._rest_of_line()) not in ("\n", "{", "<", ""):
            raise NotFoundHere
        self._tool, self.begun = tool, True
        self._emit("call", tool)
        try:
            return (yield from self._read_arguments())
        except TooLongToHold:
            raise Malformed from None
        except NotFoundHere:
            if source.ended:
                return False
            raise Malformed from None

    def _read_arguments(self) -> Reading[bool]:
        source = self._source
        while True:
            self._between = True
            yield from source.skip_white_space()
            source.begin()
            character = yield from source.peek()
            if not character:
                return self.may_end and self._end()
            if character == "{":
                self._between = False
                yield from self._read_json()
            elif (yield from source.follows("<arg ")) or (yield from source.follows("<arg-")):
                self._between = False
                source.at += 4
                if not (yield from self._read_text()):
                    return False
            elif (yield from source.follows_exactly(self._next_call)):
                return self._end()  # its own end was forgotten
            elif character != "<" and self._bare_argument is not None:
                self._between = False
                if not (yield from self._read_bare_text(self._bare_argument)):
                    return False
            else:
                closed = yield from self._read_stray_end()
                if closed == "call":
                    return self._end()

    def _end(self) -> bool:
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
            if not isinstance(inner, dict):
                raise NotFoundHere
            arguments = inner
        for name, value in self._interpreter.encoded(self._tool, arguments):
            self._open_argument(name, value)

    def _open_argument(self, name: str, value: str) -> None:
        """Pass on an argument with the beginning of its value, unless it was given already."""
        if name not in self._given:
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
        if (yield from self._rest_of_line()) == "\n":
            source.at += 1
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
        # The line end behind the opening line may be the one before the end: an empty text.
        for end in self._ends:
            if (yield from source.follows_exactly(end[1:])):
                return self._close_text(source.at - 1, take)
        searched = source.at
        while True:
            text = source.text
            place = text.find("\n</", searched)
            if place < 0:
                keep = 2 if text.endswith("\n<") else text.endswith("\n")
                self._pass_on(max(source.at, len(text) - keep), take)
                if not (yield from source.wait_for_text()):
                    return False
                searched = source.at
                continue
            if text.startswith(self._ends, place):
                return self._close_text(place, take)
            rest = text[place + 3 : place + 32]
            if _PARTIAL_END.match(rest) and place + 3 + len(rest) == len(text):
                self._pass_on(place, take)
                if not (yield from source.wait_for_text()):
                    return self._end_bare(take)
                searched = source.at
            elif _STRAY_END.match(text, place + 1):
                self._pass_on(place, take)
                try:
                    found = yield from self._find_end(source.at)
                except TooLongToHold:
                    searched = source.at + 1
                    source.begin()
                    continue
                return self._end_bare(take) if found is None else self._close_text(found, take)
            else:
                searched = place + 1

    def _pass_on(self, end: int, take: Callable[[str], None]) -> None:
        source = self._source
        if end > source.at:
            take(source.text[source.at : end])
        source.at = end
        source.begin()

    def _close_text(self, place: int, take: Callable[[str], None]) -> bool:
        source = self._source
        take(source.text[source.at : max(place, source.at)])
        is_call = source.text.startswith(self._ends[1], place)
        source.at = place + (1 if is_call else len(self._ends[0]))
        return True

    def _find_end(self, start: int) -> Reading[int | None]:
        """Return where the next end with the value is; None when the answer has none."""
        source = self._source
        while True:
            places = [source.text.find(end, start) for end in self._ends]
            if found := [place for place in places if place >= 0]:
                return min(found)
            start = max(start, len(source.text) - len(self._ends[1]))
            if not (yield from source.wait_for_text()):
                return None

    def _end_bare(self, take: Callable[[str], None]) -> bool:
        """Take an end without the value for the end, since the answer has no other one."""
        source = self._source
        bare = _BARE_END.search(source.text, source.at)
        if bare is None or source.cut:
            return False
        take(source.text[source.at : bare.start()])
        source.at = bare.start() + 1 if bare[1] == "call" else bare.end()
        return True

    def _between_bare_ends(self) -> bool:
        return _BARE_END.search(self._source.text, self._source.at) is not None

    def _read_stray_end(self) -> Reading[str]:
        """Read the end of a text or of the call, with or without the value; return which."""
        source = self._source
        if (yield from source.peek()) != "<":
            raise NotFoundHere
        yield from self._find_line_end()
        found = _STRAY_END.match(source.text, source.at)
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
