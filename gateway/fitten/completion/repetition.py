"""Finds the end of a suggestion that repeats what follows the cursor. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

# So many characters and lines on each side of the cursor are compared.
_WINDOW = 8000
_MAX_OVERLAP = 2000
_MAX_LINES = 200
_MAX_OVERLAPS = 32  # that are tried
_MAX_CLOSING = 8  # repeated ends of blocks that are checked
_BRACKETS = re.compile(r"[()\[\]{}]")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTES = "\"'`"
_CLOSING_TEXT = re.compile(r"[)\]}\"'`;,\s]*")
_CLOSING_LINE = re.compile(r"[)\]};,\s]*")
_CLOSING_WORD = re.compile(r"(?:end\w*|fi|done|esac)[)\]};,.\s]*")
_CLOSING_TAG = re.compile(r"</([\w:.-]{1,100})>")


def without_repetition(text: str, prefix: str, suffix: str) -> str:
    """Return the text without its end that repeats what follows the cursor.

    In doubt the text stays. The table in the unit test is the specification.
    """
    prefix = prefix[-_WINDOW:].replace("\r\n", "\n")
    suffix = suffix[:_WINDOW].replace("\r\n", "\n")
    rest = suffix.partition("\n")[0]
    if text == rest:
        return ""  # protocol 6.2
    if len(text) > _WINDOW:
        return text
    if not rest.strip():
        return _without_lines(text, prefix, suffix)
    endings = [text, text.rstrip()]
    if _CLOSING_TEXT.fullmatch(rest):
        endings.append(endings[-1].rstrip(";,"))  # `a);` before `)`
    place = _Place(prefix, suffix, rest)
    for ending in endings:
        kept = _without_rest_of_line(ending, place)
        if kept is not None:
            return kept
    return text


class _Place:
    """Describes the text around the cursor. rest: the rest of the line."""

    def __init__(self, prefix: str, suffix: str, rest: str) -> None:
        self.prefix = prefix
        self.suffix = suffix
        self.rest = rest
        self.line = prefix.rpartition("\n")[2]
        self._missing: dict[str, int] = {}

    def missing(self, closer: str) -> int:
        """Return how many closing brackets of a kind are missing after the cursor.

        The line decides, unless its brackets were opened in a line before.
        """
        if closer not in self._missing:
            opened, closed = _unmatched(self.line, closer)[0], _unmatched(self.rest, closer)[1]
            if not opened:
                opened = _unmatched(self.prefix, closer)[0]
                closed = _unmatched(self.suffix, closer)[1]
            self._missing[closer] = opened - closed
        return self._missing[closer]


def _without_rest_of_line(text: str, place: _Place) -> str | None:
    """Return the text without its end that is the beginning of the rest of the line."""
    if _splits_a_word(place.prefix, place.suffix):
        return None
    for following in (place.suffix, place.suffix.lstrip(" \t")):
        line_end = len(place.rest) - (len(place.suffix) - len(following))
        for length in islice(_overlaps(text, following), _MAX_OVERLAPS):
            kept, overlap = text[: len(text) - length], following[:length]
            behind = following[length : length + 1]
            if (
                overlap.strip()
                and not _splits_a_word(kept or place.prefix, overlap)
                and not (length < line_end and _splits_a_word(overlap, behind))
                and (length <= line_end or behind in ("", "\n"))
                and not _is_needed(overlap, kept, place)
            ):
                return kept
    return None


def _overlaps(text: str, following: str) -> Iterator[int]:
    """Yield the lengths, longest first, in which the text ends as the following one begins."""
    longest = min(len(text), len(following), _MAX_OVERLAP)
    return (length for length in range(longest, 0, -1) if text.endswith(following[:length]))


def _splits_a_word(left: str, right: str) -> bool:
    return re.fullmatch(r"\w\w", left[-1:] + right[:1]) is not None


def _is_needed(overlap: str, kept: str, place: _Place) -> bool:
    """Return whether brackets or quotes of the overlap are needed, although they come again.

    They are if without them some stay open, or if the line has an even number of quotes.
    """
    text = kept + overlap
    for closer, opener in _PAIRS.items():
        if closer in overlap or opener in overlap:
            without = place.missing(closer) + _change(kept, opener, closer)
            if without > max(0, place.missing(closer) + _change(text, opener, closer)):
                return True
    if _closes_own_element(overlap, kept):
        return True
    line = (place.line + text).rpartition("\n")[2] + place.rest
    return any(overlap.count(quote) % 2 and not line.count(quote) % 2 for quote in _QUOTES)


def _closes_own_element(closing: str, kept: str) -> bool:
    """Return whether a closing tag belongs to an element that the suggestion opens."""
    for name in islice(_CLOSING_TAG.findall(closing), _MAX_CLOSING):
        opened = len(re.findall(rf"<{re.escape(name)}(?![\w:.-])(?![^<>]{{0,200}}/>)", kept))
        if opened > kept.count(f"</{name}>"):
            return True
    return False


def _unmatched(text: str, closer: str) -> tuple[int, int]:
    """Return how many brackets stay open, and how many close one that is not in the text."""
    opened = closed = 0
    for found in _BRACKETS.finditer(text):
        if found[0] == _PAIRS[closer]:
            opened += 1
        elif found[0] == closer:
            if opened:
                opened -= 1
            else:
                closed += 1
    return opened, closed


def _change(text: str, opener: str, closer: str) -> int:
    """Return how many more brackets the text opens than it closes."""
    return text.count(opener) - text.count(closer)


def _without_lines(text: str, prefix: str, suffix: str) -> str:
    """Return the text up to the line from which on it repeats the lines after the cursor."""
    following = [line.rstrip() for line in suffix.split("\n", _MAX_LINES + 1)[1:]]
    while following and not following[0]:
        del following[0]
    before, _, begun = prefix.rpartition("\n")
    written = (begun + text).split("\n")
    lines = [line.rstrip() for line in written]
    while lines and not lines[-1]:
        del lines[-1]
    previous = before.rstrip().rpartition("\n")[2]
    checks = 0
    for at, line in enumerate(lines[:_MAX_LINES]):
        if following and line == following[0] and line != previous and (at or not begun.strip()):
            count = _equal_lines(lines[at:], following)
            repeated = lines[at : at + count]
            whole = at + count >= len(lines)
            words = sum(not _CLOSING_LINE.fullmatch(line) for line in repeated)
            kept = "\n".join(written[:at])
            if whole and not words:
                checks += 1
                if checks > _MAX_CLOSING:
                    return text
                whole = not _is_missing(repeated, before, kept, suffix)
            elif whole:
                # The first line of the suggestion may begin in the file.
                whole = not _ends_own_block(
                    repeated, lines[bool(begun.strip()) : at], kept[len(begun) :]
                )
            if whole or words > 1:
                return kept[len(begun) :]
        if line:
            previous = line
    return text


def _equal_lines(lines: list[str], following: list[str]) -> int:
    """Return how many lines are equal; of the last one the beginning is enough."""
    for count, (line, other) in enumerate(zip(lines, following, strict=False)):
        if line != other:
            last = count and count == len(lines) - 1
            return count + 1 if last and line.strip() and other.startswith(line) else count
    return min(len(lines), len(following))


def _ends_own_block(repeated: list[str], lines: list[str], kept: str) -> bool:
    """Return whether the repeated lines end a block or an element that the suggestion begins.

    lines: the whole lines of `kept`, the suggestion before the repeated lines.
    """
    if _closes_own_element("\n".join(repeated), kept):
        return True
    indents = {_indent(line) for line in lines if line}
    return any(
        _CLOSING_WORD.fullmatch(line.strip()) and _indent(line) in indents for line in repeated
    )


def _is_missing(closing: list[str], before: str, kept: str, suffix: str) -> bool:
    """Return whether a closing line closes a block that no line after the cursor closes.

    Blocks are told apart by the indentation of their first and last lines.
    """
    opened, _ = _unmatched_indents(f"{before}\n{kept}"[-_WINDOW:])
    _, closed = _unmatched_indents(suffix)
    return any(opened.count(indent) > closed.count(indent) for indent in map(_indent, closing))


def _unmatched_indents(text: str) -> tuple[list[str], list[str]]:
    """Return the indentation of each line with an unmatched bracket: opening ones, closing ones."""
    opened: list[tuple[str, str]] = []
    closed: list[str] = []
    for line in text.split("\n"):
        for found in _BRACKETS.finditer(line):
            if found[0] not in _PAIRS:
                opened.append((found[0], _indent(line)))
            elif opened and opened[-1][0] == _PAIRS[found[0]]:
                opened.pop()
            elif not opened:
                closed.append(_indent(line))
    return [indent for _, indent in opened], closed


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
