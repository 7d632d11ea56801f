"""Reads tags and elements as models write them, which is almost XML. No I/O.

Names may have upper and lower case. Attributes may have single, double, full-width or no
quotes, and unescaped quotes inside. Text between two tags is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.fitten.tools.reading.text_reader import (
    NotFoundHere,
    Reading,
    TextReader,
    TooLongToHold,
)

_T = TypeVar("_T")

MAX_NAME = 128
MAX_MEMBERS = 256

_BLANK = " \t\r\n\f\v"
_QUOTES = {'"': '"＂”', "'": "'", "“": '”"', "”": '”"', "＂": '＂"', "‘": "’'", "’": "’'"}
_NAME = re.compile(r"[\w.:-]*")
_VALUE_END = re.compile(r"[ \t\r\n\f\v>/]")
_ENTITY = re.compile(r"&(?:(quot|apos|amp|lt|gt)|#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6}));")
_NAMED = {"quot": '"', "apos": "'", "amp": "&", "lt": "<", "gt": ">"}


@dataclass(slots=True)
class Tag:
    """Describes an opening or empty tag; attributes in the order written."""

    name: str
    attributes: list[tuple[str, str]] = field(default_factory=list)
    empty: bool = False


@dataclass(slots=True)
class Element:
    """Describes a tag and its content: JSON text, children (tag and inner text), or nothing."""

    tag: Tag
    json: str | None = None
    children: list[tuple[Tag, str]] = field(default_factory=list)


def unescape(text: str) -> str:
    """Return the text with the entities of XML, named or numbered, as characters."""
    return _ENTITY.sub(_character, text) if "&" in text else text


def text_value(text: str) -> str:
    """Return the value that the text between two tags stands for.

    Text with tags inside is not unescaped. Line ends at both ends are layout and are removed;
    a line end only at the end is part of the value.
    """
    if text[:1] in ("\n", "\r"):
        text = text.removeprefix("\r").removeprefix("\n").removesuffix("\n").removesuffix("\r")
    return text if "<" in text else unescape(text)


def is_name_character(character: str) -> bool:
    return character.isalnum() or character in "_-.:"


def read_name(source: TextReader) -> Reading[str]:
    """Read a name of letters, digits and `_-.:`; possibly empty."""
    start = source.at
    while True:
        match = _NAME.match(source.text, start, source.limit)
        assert match is not None
        source.at = match.end()
        if source.at - start > MAX_NAME:
            raise NotFoundHere
        if source.at < min(len(source.text), source.limit) or not (
            yield from source.wait_for_text()
        ):
            break
    source.spend(10)
    return source.text[start : source.at]


def read_tag(source: TextReader, tag_name: str) -> Reading[Tag]:
    """Read the rest of a tag behind `<` and its name. Raises NotFoundHere if it is no tag."""
    found = Tag(tag_name)
    while len(found.attributes) <= MAX_MEMBERS:
        yield from source.skip_white_space()
        character = yield from source.peek()
        if character == ">":
            source.at += 1
            return found
        if character == "/":
            yield from source.expect("/>")
            found.empty = True
            return found
        found.attributes.append((yield from _read_attribute(source)))
    raise NotFoundHere


def skip_closing_tag(source: TextReader, tag_name: str) -> Reading[bool]:
    """Skip `</name>`; return False, without moving, if it does not stand here."""
    start = source.at
    if not (yield from source.follows(f"</{tag_name.lower()}")):
        return False
    source.at += len(tag_name) + 2
    yield from source.skip_white_space()
    if (yield from source.peek()) == ">":
        source.at += 1
        return True
    source.at = start
    return False


def read_element(source: TextReader, opened: Tag, last: Collection[str] = ()) -> Reading[Element]:
    """Read the content of a tag and its closing tag.

    last: names of children after which the element is complete. After such a child, or after
        JSON, the closing tag may be missing at the end of the turn.
    Raises NotFoundHere for content other than JSON or elements.
    """
    found = Element(opened)
    if opened.empty:
        return found
    yield from source.skip_white_space()
    character = yield from source.peek()
    if character and character in "{[":
        found.json = yield from source.read_json()
        yield from source.skip_white_space()
        if (yield from source.at_turn_end()):
            return found
        if not (yield from skip_closing_tag(source, opened.name)):
            raise NotFoundHere
        return found
    while not (yield from skip_closing_tag(source, opened.name)):
        complete = found.children and found.children[-1][0].name.lower() in last
        if complete and (yield from source.at_turn_end()):
            break
        if len(found.children) > MAX_MEMBERS:
            raise NotFoundHere
        found.children.append((yield from _read_child(source)))
        yield from source.skip_white_space()
    return found


def parse_children(text: str) -> dict[str, object] | None:
    """Return the elements of a text by name; None when it has anything but elements.

    The values of a repeated name become a list.
    """
    source = TextReader()
    source.text, source.ended = text, True
    found: dict[str, object] = {}
    try:
        while True:
            _read_complete(source.skip_white_space())
            if source.at == len(text):
                return found or None
            child, inner = _read_complete(_read_child(source))
            key = dict(child.attributes).get("name", child.name)
            add_member(found, key, parse_children(inner) or text_value(inner))
    except (NotFoundHere, RecursionError):
        return None


def add_member(members: dict[str, object], key: str, value: object) -> None:
    """Set a member; if it exists already, make it a list of both values."""
    before = members.get(key)
    if key not in members:
        members[key] = value
    elif isinstance(before, list):
        before.append(value)
    else:
        members[key] = [before, value]


def _read_child(source: TextReader) -> Reading[tuple[Tag, str]]:
    yield from source.expect("<")
    child_name = yield from read_name(source)
    if not child_name:
        raise NotFoundHere
    child = yield from read_tag(source, child_name)
    if child.empty:
        return child, ""
    return child, (yield from _read_inner(source, child_name))


def _read_inner(source: TextReader, tag_name: str) -> Reading[str]:
    """Read up to the closing tag; one inside a JSON string does not count."""
    start = source.at
    yield from source.skip_white_space()
    character = yield from source.peek()
    if character and character in "{[":
        try:
            text = yield from source.read_json()
            yield from source.skip_white_space()
            if (yield from skip_closing_tag(source, tag_name)):
                return text
        except TooLongToHold:
            raise
        except NotFoundHere:
            pass
        source.backtrack(start)
    end = re.compile(rf"</{re.escape(tag_name)}\s{{0,8}}>", re.IGNORECASE)
    match = yield from source.search(end, len(tag_name) + 11)
    return source.text[start : match.start()]


def _read_attribute(source: TextReader) -> Reading[tuple[str, str]]:
    key = yield from read_name(source)
    if not key:
        raise NotFoundHere
    yield from source.skip_white_space()
    yield from source.expect("=")
    yield from source.skip_white_space()
    quote = yield from source.peek()
    if quote in _QUOTES:
        source.at += 1
        return key, unescape((yield from _read_quoted(source, _QUOTES[quote])))
    start = source.at
    while True:
        found = yield from source.search(_VALUE_END)
        if found[0] != "/" or (yield from source.peek()) == ">":
            break
    source.at -= 1
    if source.at == start:
        raise NotFoundHere
    return key, unescape(source.text[start : source.at])


def _read_quoted(source: TextReader, closers: str) -> Reading[str]:
    """Read a value up to its closing quote: an attribute or the tag's end follows that one."""
    start = source.at
    if (yield from source.peek()) in ("{", "["):
        try:
            text = yield from source.read_json()
            quote = yield from source.peek()
            if quote and quote in closers and (yield from _ends_value(source)):
                source.at += 1
                return text
        except TooLongToHold:
            raise
        except NotFoundHere:
            pass
        source.backtrack(start)
    wanted = re.compile(f"[{closers}]")
    while True:
        yield from source.search(wanted)
        source.at -= 1
        if (yield from _ends_value(source)):
            source.at += 1
            return source.text[start : source.at - 1]
        source.at += 1


def _ends_value(source: TextReader) -> Reading[bool]:
    """Return whether the quote at the position ends a value, judged by what follows it."""
    start = source.at
    source.at += 1
    source.spend(20)
    try:
        yield from source.skip_white_space()
        character = yield from source.peek()
        if character and character in "/>":
            return True
        key = yield from read_name(source)
        yield from source.skip_white_space()
        return bool(key) and (yield from source.peek()) == "="
    finally:
        source.at = start


def _character(match: re.Match[str]) -> str:
    if match[1]:
        return _NAMED[match[1]]
    code = int(match[2]) if match[2] else int(match[3], 16)
    valid = 0 < code < 0x110000 and not 0xD800 <= code < 0xE000
    return chr(code) if valid else match[0]


def _read_complete(reading: Reading[_T]) -> _T:
    """Return the result of reading from a text that is complete."""
    try:
        while True:
            next(reading)
    except StopIteration as end:
        value: _T = end.value
        return value
