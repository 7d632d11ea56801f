"""Reads tool calls in each notation that models use (protocol 4.6). No I/O.

Each method starts at the position of a `TextReader`, moves the position behind what it has read
and returns the calls. It raises NotFoundHere as soon as the text cannot be a call of an offered
tool.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.fitten.tools.reading import markup, native_reader
from gateway.fitten.tools.reading.interpretation import (
    ARGUMENTS,
    CALLS,
    MEMBERS,
    NAMES,
    NESTED,
    RESULTS,
    WRAPPERS,
    ParsedCall,
    ToolInterpreter,
    load_lenient_json,
)
from gateway.fitten.tools.reading.native_reader import MAX_CALLS, NativeReader
from gateway.fitten.tools.reading.text_reader import (
    NotFoundHere,
    Reading,
    TextReader,
    TooLongToHold,
)

_MAX_NESTING = 3
_DATA_FENCES = ("", "json", "xml", "text", "tool", "tools", "tool_code", *WRAPPERS, *CALLS)
_NAME = re.compile(r"[\w.:-]*")
_LIST_VALUE_END = re.compile(r"[\n<\[]")
_WORD = re.compile(r"[a-z_]+\Z")

_KEY = rf'["“](?:[a-z_]*\Z|(?:{"|".join(sorted(MEMBERS))})["”]|[a-z_]*\\)'
_JSON_START = re.compile(rf"(?:\[\s*+(?:\Z|(?=\{{)))?+(?:\Z|\{{\s*+(?:\Z|{_KEY}))")
_BRACKET_START = re.compile(
    "|".join(native_reader.part_pattern(f"[{word}]") for word in (*WRAPPERS, *RESULTS)),
    re.ASCII | re.IGNORECASE,
)


class CallGrammar:
    """Reads calls of the offered tools.

    interpreter: knows the tools and makes calls of what was read.
    value: what marks the blocks of the hybrid notation, which another reader reads.
    """

    def __init__(self, interpreter: ToolInterpreter, value: str | None = None) -> None:
        self._interpreter = interpreter
        self._words = frozenset((*WRAPPERS, *CALLS, *RESULTS))
        self._all_words = self._words | interpreter.tags
        blocks = () if value is None else (f"call-{value.lower()}", f"result-{value.lower()}")
        self._beginnings = self._all_words.union(blocks)
        self._native = NativeReader(interpreter, self._read_objects)

    def may_begin(self, text: str, at: int, *, json: bool = True) -> bool:
        """Return whether a block may begin at a `<`, `[` or `{`, as far as the text has come.

        json: whether JSON alone may begin here.
        This is a quick check, and nearly all other text does not pass it.
        """
        if text[at] != "<":
            return bool(_BRACKET_START.match(text, at) or (json and _JSON_START.match(text, at)))
        if native_reader.may_begin(text, at):
            return True
        match = _NAME.match(text, at + 1)
        assert match is not None
        word = match[0].lower()
        if match.end() < len(text):
            return word in self._beginnings
        return any(one.startswith(word) for one in self._beginnings)

    def read_block(
        self,
        source: TextReader,
        *,
        bare: bool = True,
        lone: bool = True,
        json: bool = True,
        depth: int = 0,
    ) -> Reading[list[ParsedCall]]:
        """Read a call in any notation, or a wrapper with several calls.

        bare: whether there is no wrapper around it.
        lone: whether the tag of a tool's name alone counts as a call.
        json: whether JSON alone counts as a call.
        depth: how many wrappers are around it.
        """
        character = yield from source.peek()
        if character == "<":
            words = self._all_words if lone else self._words
            return (yield from self._read_tagged(source, words, bare=bare, depth=depth))
        if character == "[" and (yield from self._is_bracketed(source)):
            return (yield from self._read_bracketed(source, depth))
        if json and character and character in "{[":
            text = yield from self._read_json(source, depth)
            return self._interpreter.from_json(load_lenient_json(text), bare=bare)
        raise NotFoundHere

    def begins_native(self, source: TextReader) -> Reading[bool]:
        """Return whether a block in a native notation begins here, without moving."""
        return (yield from self._native.begins(source))

    def read_native(
        self, source: TextReader, check: Callable[[int], None]
    ) -> Reading[list[ParsedCall]]:
        """Read blocks in native notations, up to the end of the line or of the turn.

        check: called behind each call, with its beginning; may raise NotFoundHere.
        """
        return (yield from self._native.read_line(source, check))

    def skip_results(self, source: TextReader) -> Reading[bool]:
        """Skip a block of tool results, which the model made up: only the client has results.

        Returns False when the text ends within the block. Raises NotFoundHere when there is
        none.
        """
        opening = yield from source.peek()
        if opening not in ("<", "["):
            raise NotFoundHere
        source.at += 1
        word = yield from self._read_word(source, frozenset(RESULTS))
        if opening == "<":
            yield from markup.read_tag(source, word)
        else:
            yield from source.expect("]")
        end = re.compile(rf"[<\[]/{word}\s{{0,8}}[>\]]", re.IGNORECASE)
        try:
            yield from source.search(end, len(word) + 11)
            while (yield from self._skip_closing(source, (word,))):
                pass  # some models nest the block twice
        except NotFoundHere:
            if len(source.text) >= source.limit:
                raise
            source.at = len(source.text)
            return False
        return True

    def read_fenced(
        self, source: TextReader, marks: str, check: Callable[[int], None]
    ) -> Reading[list[ParsedCall]]:
        """Read what follows the opening marks of a fence, if it holds only calls.

        marks: the backticks or tildes that open the fence.
        check: called behind each block, with its beginning; may raise NotFoundHere.
        The tag of a tool's name alone is no call there. A fence of a programming language
        holds no calls, since it is code to show.
        """
        info = yield from source.read_while(lambda c: c.isalnum() or c in "_- \t", 32)
        if info.strip().lower() not in _DATA_FENCES:
            raise NotFoundHere
        if (yield from source.peek()) == "\r":
            source.at += 1
        yield from source.expect("\n")
        calls: list[ParsedCall] = []
        while True:
            yield from source.skip_white_space()
            if calls and (yield from source.at_turn_end()):
                return calls
            if calls and (yield from source.peek()) == marks[0]:
                break
            start = source.at
            calls += yield from self.read_block(source, lone=False)
            check(start)
            if len(calls) > MAX_CALLS:
                raise NotFoundHere
        if len((yield from source.read_while(marks[0].__eq__, 64))) < len(marks):
            raise NotFoundHere
        yield from source.read_while(" \t\r".__contains__, 64)
        if (yield from source.peek()) not in ("\n", ""):
            raise NotFoundHere
        return calls

    def _read_tagged(
        self, source: TextReader, words: frozenset[str], *, bare: bool, depth: int
    ) -> Reading[list[ParsedCall]]:
        source.at += 1
        word = yield from self._read_word(source, words)
        if word in RESULTS:
            raise NotFoundHere
        if word in WRAPPERS:
            opened = yield from markup.read_tag(source, word)
            if opened.empty:
                raise NotFoundHere
            return (yield from self._read_items(source, depth + 1))
        opened = yield from markup.read_tag(source, word)
        element = yield from markup.read_element(source, opened, ARGUMENTS if word in CALLS else ())
        return self._interpreter.from_element(element, bare=bare)

    def _read_word(self, source: TextReader, words: frozenset[str]) -> Reading[str]:
        """Read one of these words; return it in lower case.

        Raises NotFoundHere at the first wrong character.
        """
        start = source.at
        source.spend(10)  # at once, so that it is the same however much of the word has come
        while True:
            match = _NAME.match(source.text, start, source.limit)
            assert match is not None
            word = match[0].lower()
            if match.end() < min(len(source.text), source.limit):
                break
            if not any(one.startswith(word) for one in words):
                raise NotFoundHere
            if not (yield from source.wait_for_text()):
                break
        if word not in words:
            raise NotFoundHere
        source.at = match.end()
        return word

    def _is_bracketed(self, source: TextReader) -> Reading[bool]:
        for word in WRAPPERS:
            if (yield from source.follows(f"[{word}]")):
                return True
        return False

    def _read_bracketed(self, source: TextReader, depth: int) -> Reading[list[ParsedCall]]:
        yield from self._skip_bracketed(source)
        return (yield from self._read_items(source, depth + 1))

    def _skip_bracketed(self, source: TextReader) -> Reading[None]:
        source.at += 1
        yield from self._read_word(source, frozenset(WRAPPERS))
        yield from source.expect("]")

    def _read_items(self, source: TextReader, depth: int) -> Reading[list[ParsedCall]]:
        """Read calls up to the end of the wrapper, in any notation, or of the turn.

        Models repeat `[tool_calls]` before each call (protocol 13), often with one end for all.
        """
        if depth > _MAX_NESTING:
            raise NotFoundHere
        calls: list[ParsedCall] = []
        repeated = 0
        while len(calls) <= MAX_CALLS:
            yield from source.skip_white_space()
            if calls and (yield from source.at_turn_end()):
                return calls
            if calls and (yield from self._skip_closing(source, WRAPPERS)):
                while repeated and (yield from self._skip_closing(source, WRAPPERS)):
                    repeated -= 1
                return calls
            if calls and (yield from self._is_bracketed(source)):
                yield from self._skip_bracketed(source)
                repeated += 1
            elif (yield from source.peek()) == "-":
                calls += yield from self._read_list(source)
            else:
                calls += yield from self.read_block(source, bare=False, depth=depth)
        raise NotFoundHere

    def _skip_closing(self, source: TextReader, words: tuple[str, ...]) -> Reading[bool]:
        """Skip a closing tag of one of these words; return False, without moving, if none."""
        start = source.at
        yield from source.skip_white_space()
        opening = yield from source.peek()
        if opening and opening in "<[" and (yield from source.peek(1)) == "/":
            source.at += 2
            for word in words:
                if (yield from source.follows(word)):
                    source.at += len(word)
                    yield from source.skip_white_space()
                    if (yield from source.peek()) in (">", "]"):
                        source.at += 1
                        return True
        source.at = start
        return False

    def _read_list(self, source: TextReader) -> Reading[list[ParsedCall]]:
        """Read one call of lines such as `- name: T` and `- arguments: {...}`."""
        found: dict[str, str] = {}
        while True:
            start = source.at
            yield from source.skip_white_space()
            if (yield from source.peek()) == "-":
                source.at += 1
                yield from source.read_while(" \t".__contains__, 64)
            key = (yield from source.read_while(markup.is_name_character, markup.MAX_NAME)).lower()
            key = key.removesuffix(":")
            kind = "name" if key in NAMES else "arguments" if key in ARGUMENTS else key
            if not _WORD.match(key) or kind in found:
                source.at = start
                break
            if source.text[source.at - 1] != ":":
                yield from source.expect(":")
            if key not in MEMBERS:
                raise NotFoundHere
            yield from source.read_while(" \t".__contains__, 64)
            found[kind] = yield from self._read_list_value(source)
        if "name" not in found:
            raise NotFoundHere
        if not found.get("arguments"):
            start = source.at
            yield from source.skip_white_space()
            if (yield from source.at_turn_end()):
                raise NotFoundHere  # it broke off before its arguments
            source.at = start
        return [self._interpreter.call(found["name"], found.get("arguments"))]

    def _read_list_value(self, source: TextReader) -> Reading[str]:
        character = yield from source.peek()
        if character and character in "{[":
            return (yield from source.read_json())
        start = source.at
        try:
            yield from source.search(_LIST_VALUE_END)
            source.at -= 1
        except TooLongToHold:
            raise
        except NotFoundHere:
            source.spend(0)  # the text ended, unless the credit did
        return source.text[start : source.at].strip().strip("\"'`")

    def _read_objects(self, source: TextReader) -> Reading[list[ParsedCall]]:
        """Read the calls in a JSON object, or in a list of such objects."""
        if (yield from source.peek()) not in ("{", "["):
            raise NotFoundHere
        text = yield from self._read_json(source, 0)
        return self._interpreter.from_json(load_lenient_json(text))

    def _read_json(self, source: TextReader, depth: int) -> Reading[str]:
        """Read the JSON object of a call, or a list of them.

        Raises NotFoundHere at the first member that a call does not have.
        """
        if depth > _MAX_NESTING:
            raise NotFoundHere
        start = source.at
        opening = yield from source.peek()
        source.at += 1
        while True:
            yield from source.skip_white_space()
            if opening == "[":
                if (yield from source.peek()) != "{":
                    raise NotFoundHere
                yield from self._read_json(source, depth + 1)
            else:
                yield from self._read_member(source, depth)
            yield from source.skip_white_space()
            character = yield from source.peek()
            source.at += 1
            if character == ("]" if opening == "[" else "}"):
                return source.text[start : source.at]
            if character != ",":
                raise NotFoundHere

    def _read_member(self, source: TextReader, depth: int) -> Reading[None]:
        key = load_lenient_json((yield from source.read_string()))
        if key not in MEMBERS:
            raise NotFoundHere
        source.spend(30)
        yield from source.skip_white_space()
        yield from source.expect(":")
        yield from source.skip_white_space()
        character = yield from source.peek()
        nested = key in NESTED or (key in NAMES and character == "{")
        if nested and character and character in "{[":
            yield from self._read_json(source, depth + 1)
            return
        value = yield from source.read_json_value()
        if key in NAMES and self._interpreter.tool_name(load_lenient_json(value)) is None:
            raise NotFoundHere
