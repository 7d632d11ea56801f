"""Reads calls in the notations of `native_notations`. No I/O.

A block counts only if nothing but white space or further blocks follow it in its line. Where a
block may begin is decided by the module `parser`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gateway.fitten.tools.reading import markup
from gateway.fitten.tools.reading.interpretation import (
    ParsedCall,
    ToolInterpreter,
    load_lenient_json,
)
from gateway.fitten.tools.reading.native_notations import (
    NATIVE_NOTATIONS,
    NativeNotation,
    ParameterForm,
)
from gateway.fitten.tools.reading.text_reader import (
    NotFoundHere,
    Reading,
    TextReader,
    TooLongToHold,
)

MAX_CALLS = 128

_MAX_BLANKS = 64
# Special tokens have other signs in some tokenizers: DeepSeek's, for example.
_DRIFT = str.maketrans("｜▁", "|_")
_LETTERS = {"|": "[|｜]", "_": "[_▁]"}
_SPECIAL_TOKEN = ("<|", "</|")
_FENCE = "```"


def _by_beginning() -> dict[str, tuple[NativeNotation, ...]]:
    found: dict[str, tuple[NativeNotation, ...]] = {}
    for notation in NATIVE_NOTATIONS:
        for word in notation.beginnings:
            found[word] = (*found.get(word, ()), notation)
    return found


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for any of these words, whatever the signs of special tokens."""
    any_of = "|".join("".join(map(_letter_pattern, word)) for word in words)
    return re.compile(any_of, re.ASCII | re.IGNORECASE)


def part_pattern(word: str) -> str:
    """Return a pattern for a word, or for as much of it as the text has come."""
    pattern = ""
    for character in reversed(word):
        pattern = _letter_pattern(character) + (f"(?:{pattern}|\\Z)" if pattern else "")
    return pattern


def _letter_pattern(character: str) -> str:
    return _LETTERS.get(character) or re.escape(character)


_VALUE_ENDS = {
    form.closes: _pattern((form.closes,))
    for notation in NATIVE_NOTATIONS
    if (form := notation.parameters) is not None
}
_BY_BEGINNING = _by_beginning()
_BEGINNING = _pattern(tuple(_BY_BEGINNING))
_POSSIBLE_BEGINNING = re.compile(
    "|".join(map(part_pattern, _BY_BEGINNING)), re.ASCII | re.IGNORECASE
)


def _fold(text: str) -> str:
    return text.lower().translate(_DRIFT)


def may_begin(text: str, at: int) -> bool:
    """Return whether a block may begin here, as far as the text has come. This is cheap."""
    return _POSSIBLE_BEGINNING.match(text, at) is not None


class NativeReader:
    """Reads calls of the offered tools in the notations that models were trained in.

    interpreter: knows the tools and makes calls of what was read.
    read_objects: reads a JSON object that has name and arguments, or a list of such objects.
    """

    def __init__(
        self,
        interpreter: ToolInterpreter,
        read_objects: Callable[[TextReader], Reading[list[ParsedCall]]],
    ) -> None:
        self._interpreter = interpreter
        self._read_objects = read_objects

    def begins(self, source: TextReader) -> Reading[bool]:
        """Return whether a block of one of the notations begins here, without moving."""
        return bool((yield from self._notations_here(source)))

    def read_line(
        self, source: TextReader, check: Callable[[int], None]
    ) -> Reading[list[ParsedCall]]:
        """Read blocks up to the end of the line in which the last one ends, or of the turn.

        check: called behind each call, with its beginning; may raise NotFoundHere.
        """
        calls: list[ParsedCall] = []
        while len(calls) <= MAX_CALLS:
            calls += yield from self._read_block(source, check)
            start = source.at
            yield from source.read_while(" \t\r".__contains__, _MAX_BLANKS)
            if not (yield from self.begins(source)):
                if (yield from source.peek()) in ("\n", "") or (yield from _is_special(source)):
                    source.at = start
                    return calls
                break
        raise NotFoundHere

    def _notations_here(self, source: TextReader) -> Reading[tuple[NativeNotation, ...]]:
        while _POSSIBLE_BEGINNING.match(source.text, source.at, source.limit):
            if match := _BEGINNING.match(source.text, source.at, source.limit):
                return _BY_BEGINNING[_fold(match[0])]
            if not (yield from source.wait_for_text()):
                break
        return ()

    def _read_block(
        self, source: TextReader, check: Callable[[int], None]
    ) -> Reading[list[ParsedCall]]:
        """Read the calls of a block in the first notation that fits."""
        start = source.at
        for notation in (yield from self._notations_here(source)):
            try:
                return (yield from self._read_calls(source, notation, check))
            except TooLongToHold:
                raise
            except NotFoundHere:
                source.backtrack(start)
        raise NotFoundHere

    def _read_calls(
        self, source: TextReader, notation: NativeNotation, check: Callable[[int], None]
    ) -> Reading[list[ParsedCall]]:
        """Read the calls that follow each other; the words around them may be missing."""
        in_section = yield from _skip_any(source, notation.sections)
        yield from source.skip_white_space()
        start = source.at
        calls = yield from self._read_call(source, notation)
        check(start)
        while len(calls) <= MAX_CALLS:
            after = source.at
            yield from source.skip_white_space()
            if (yield from _skip_any(source, notation.section_ends)):
                return calls
            if not (yield from _follows(source, notation.opens[0])):
                source.at = after
                return calls
            start = source.at
            try:
                more = yield from self._read_call(source, notation)
            except TooLongToHold:
                raise
            except NotFoundHere:
                if in_section:
                    raise
                source.backtrack(after)
                return calls
            check(start)
            calls += more
        raise NotFoundHere

    def _read_call(self, source: TextReader, notation: NativeNotation) -> Reading[list[ParsedCall]]:
        for word in notation.opens:
            yield from source.skip_white_space()
            if not (yield from _skip_any(source, (word,))):
                raise NotFoundHere
        yield from source.skip_white_space()
        if notation.named:
            calls = [(yield from self._read_named(source, notation))]
        else:
            calls = yield from self._read_joined(source, notation.joiner)
            yield from _skip_end(source, notation, whole=True)
        return calls

    def _read_joined(self, source: TextReader, joiner: str) -> Reading[list[ParsedCall]]:
        calls = yield from self._read_objects(source)
        while joiner and len(calls) <= MAX_CALLS:
            after = source.at
            yield from source.skip_white_space()
            if not (yield from _skip_any(source, (joiner,))):
                source.at = after
                break
            yield from source.skip_white_space()
            calls += yield from self._read_objects(source)
        return calls

    def _read_named(self, source: TextReader, notation: NativeNotation) -> Reading[ParsedCall]:
        name = yield from markup.read_name(source)
        if self._interpreter.tool_name(name) is None:
            raise NotFoundHere
        if notation.label and (yield from _skip_any(source, (notation.label,))):
            yield from markup.read_name(source)
        for word in notation.separators:
            yield from source.skip_white_space()
            yield from _skip_any(source, (word,))
        yield from source.skip_white_space()
        fenced = yield from _skip_fence(source)
        arguments: object = {}
        if whole := (yield from source.peek()) == "{":
            arguments = yield from source.read_json()
        elif notation.parameters:
            arguments = yield from _read_parameters(source, notation, notation.parameters)
        if fenced:
            yield from source.skip_white_space()
            yield from _skip_any(source, (_FENCE,))
        call = self._interpreter.call(name, arguments)
        if not notation.closes and not whole:
            raise NotFoundHere
        yield from _skip_end(source, notation, whole=whole)
        return call


def _skip_end(source: TextReader, notation: NativeNotation, *, whole: bool) -> Reading[None]:
    """Skip what ends a call.

    whole: whether the call is complete without it. Then it may be missing at the end of the turn
        and before the next call.
    """
    if not notation.closes:
        return
    after = source.at
    yield from source.skip_white_space()
    if (yield from _skip_any(source, notation.closes[:1])):
        for word in notation.closes[1:]:
            after = source.at
            yield from source.skip_white_space()
            if not (yield from _skip_any(source, (word,))):
                source.at = after
        return
    for word in notation.section_ends:
        if (yield from _follows(source, word)):
            return
    if whole and (not (yield from source.peek()) or (yield from _is_special(source))):
        source.at = after
        return
    raise NotFoundHere


def _read_parameters(
    source: TextReader, notation: NativeNotation, form: ParameterForm
) -> Reading[dict[str, object]]:
    arguments: dict[str, object] = {}
    while len(arguments) <= markup.MAX_MEMBERS:
        yield from source.skip_white_space()
        if not (yield from _skip_any(source, (form.opens,))):
            return arguments
        name = yield from source.read_while(_is_in_parameter_name, markup.MAX_NAME)
        is_json = yield from _read_separator(source, form)
        if form.value_opens:
            yield from source.skip_white_space()
            if not (yield from _skip_any(source, (form.value_opens,))):
                raise NotFoundHere
        text = yield from _read_value(source, notation, form)
        markup.add_member(arguments, name.strip(), _json_or_text(text) if is_json else text)
    raise NotFoundHere


def _read_separator(source: TextReader, form: ParameterForm) -> Reading[bool]:
    """Skip what comes behind the name of an argument; return whether its value is JSON."""
    for word, is_json in form.separators.items():
        if (yield from _skip_any(source, (word,))):
            return is_json
    raise NotFoundHere


def _read_value(source: TextReader, notation: NativeNotation, form: ParameterForm) -> Reading[str]:
    """Read up to the first end behind which the next argument or the end of the call follows."""
    start = source.at
    ends = (form.opens, *notation.closes[:1], *notation.section_ends)
    while True:
        match = yield from source.search(_VALUE_ENDS[form.closes], len(form.closes))
        after = source.at
        yield from source.skip_white_space()
        for word in ends:
            if (yield from _follows(source, word)):
                source.at = after
                text = source.text[start : match.start()]
                return _without_padding(text) if form.padded else text
        source.at = after


def _without_padding(text: str) -> str:
    """Return the text without a line end at both ends."""
    for line_end in ("\n", "\r\n"):
        if text.startswith(line_end):
            return text.removeprefix(line_end).removesuffix(line_end)
    return text


def _json_or_text(text: str) -> object:
    try:
        return load_lenient_json(text)
    except NotFoundHere:
        return text


def _is_in_parameter_name(character: str) -> bool:
    return character not in '"<>\n'


def _skip_fence(source: TextReader) -> Reading[bool]:
    """Skip the beginning of a Markdown fence around JSON, as DeepSeek V3 writes it."""
    if not (yield from _skip_any(source, (_FENCE,))):
        return False
    yield from _skip_any(source, ("json",))
    yield from source.skip_white_space()
    return True


def _is_special(source: TextReader) -> Reading[bool]:
    """Return whether a special token follows, which ends the turn unless it begins a block."""
    for word in _SPECIAL_TOKEN:
        if (yield from _follows(source, word)):
            return True
    return False


def _follows(source: TextReader, word: str) -> Reading[bool]:
    """Return whether this word follows, whatever the case and the signs of special tokens."""
    end = source.at + len(word)
    if end <= len(source.text) and end <= source.limit:
        return _fold(source.text[source.at : end]) == word
    for ahead, wanted in enumerate(word):
        if _fold((yield from source.peek(ahead))) != wanted:
            return False
    return True


def _skip_any(source: TextReader, words: Sequence[str]) -> Reading[bool]:
    """Skip one of these words; return False, without moving, if none follows."""
    source.spend(4 * len(words))
    for word in words:
        if (yield from _follows(source, word)):
            source.at += len(word)
            return True
    return False
