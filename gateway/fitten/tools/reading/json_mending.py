"""Decodes JSON as models write it: strictly first, and mended only if that fails. No I/O.

Text that is JSON is never changed, whatever its strings have. All mends concern the form around
values, or backslashes that JSON does not know. What could mean two things is not mended.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from gateway.fitten.tools.reading import markup
from gateway.fitten.tools.reading.text_reader import NotFoundHere
from gateway.generation import json_values

MAX_VALUES = 30_000
"""The most values of a call, counted as in `json_values`."""

_MAX_MENDS = 10_000
"""The most places that are looked at one by one; all other text is skipped by a search."""

_ESCAPE = r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
# What needs no mend, apart from brackets. A path such as "C:\new" may need one.
_PLAIN = re.compile(
    rf'(?:"(?![A-Za-z]:\\[bfnrt])(?:[^"\\]++|{_ESCAPE})*+"|[\s:]++|,(?=\s*+[^\s,}}\]])'
    r"|-?\d[\d.eE+-]*+|(?:true|false|null)\b)++"
)
_STRING = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
# What follows a string: the next value or member, or the end of something.
_VALUE_END = r"""(?=\s*+(?:[:}\]]|\Z|,\s*+(?:["'“”＂{\[}\]\d-]|true|false|null|True|False|None)))"""
_SINGLE_QUOTED = re.compile(rf"'([^'\"\\\n]*+)'{_VALUE_END}")


def _string_in(opening: str, closing: str) -> re.Pattern[str]:
    """Return a pattern for a string in these quotes; closing ones inside it are text.

    As in `TextReader`, a straight quote may close it too.
    """
    inside = rf'[^\\"{closing}]++|\\.|["{closing}](?!{_VALUE_END})'
    return re.compile(rf'{opening}((?:{inside})*+)["{closing}]', re.DOTALL)


_WIDE_QUOTES = {quotes[0]: _string_in(*quotes) for quotes in ("“”", "””", "＂＂")}
_CONSTANT = re.compile(r"(True|False|None)\b")
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}
_CLOSING = {"{": "}", "[": "]"}
_AFTER_COMMA = re.compile(r",\s*+(?=[}\]])")

_INTEGER = re.compile(r"-?\d+", re.ASCII)
_BACKSLASH = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_DRIVE = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:\Z")
_PATH = re.compile(r'[A-Za-z]:(?:\\[^\s\\/:*?"<>|]++)++\\?')
_WORD = re.compile(r"[\w.]")
_STARTS_WITH_DRIVE = re.compile(r"\s*+[A-Za-z]:\\")
# What may stand between two backslashes of a path: in a string that begins with a drive, behind
# a drive elsewhere, and without a drive.
_SEGMENT_OF_WHOLE_PATH = re.compile(r"[\w.~()-][\w.~() -]*+")
_SEGMENT_BEHIND_DRIVE = re.compile(r"[\w.~()-]+")
_SEGMENT = re.compile(r"[\w.~-]{2,}")


class WrittenNumber(float):
    """Holds a number that Python would write with other digits, such as 1.10 or 1e400.

    text: the number as JSON, as the model wrote it.
    """

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> WrittenNumber:
        number = super().__new__(cls, text)
        number.text = text
        return number


def read_number(text: str) -> int | float:
    """Return the number that a JSON text stands for; it keeps its digits for `encode`.

    Raises ValueError for anything else, and for an integer of thousands of digits.
    """
    return _read_integer(text) if _INTEGER.fullmatch(text) else _read_float(text)


def encode(value: Any, *, compact: bool = True) -> str:
    """Return a value as JSON, its numbers with the digits of the text they came from.

    compact: whether no blanks stand between members.
    Raises ValueError or RecursionError.
    """
    comma, colon = (",", ":") if compact else (", ", ": ")
    if _has_written_numbers(value):
        return _encode(value, comma, colon)
    return json.dumps(value, ensure_ascii=False, separators=(comma, colon), allow_nan=False)


def load_lenient_json(text: str) -> Any:
    """Decode JSON as models write it; see `mend`. XML entities are tried last.

    Raises NotFoundHere, also for a text with more than MAX_VALUES values.
    """
    if 3 * len(text) > MAX_VALUES and json_values.exceeds(
        text.encode("utf-8", "surrogatepass"), MAX_VALUES
    ):
        raise NotFoundHere
    plain = markup.unescape(text)
    for candidate in (text,) if plain == text else (text, plain):
        try:
            return decode(candidate)
        except (ValueError, RecursionError):
            pass
        try:
            return decode(mend(candidate))
        except (ValueError, RecursionError):
            pass
    raise NotFoundHere


def mend(text: str) -> str:
    """Return a text that is not JSON with these mistakes corrected.

    - Backslashes that begin no escape are doubled. In a path with a drive or several segments,
      those before `b f n r t` are doubled too.
    - A comma before a closing bracket is removed.
    - Brackets that are still open at the end are closed, if the last value is certainly whole.
    - Full-width quotes around a string become straight ones; so do single ones if neither
      quotes nor backslashes are inside.
    - `True`, `False` and `None` become the words of JSON.

    Raises ValueError for what cannot be mended, or has too many mistakes.
    """
    out: list[str] = []
    brackets: list[str] = []
    at = looked_at = 0
    while at < len(text):
        if plain := _PLAIN.match(text, at):
            out.append(plain[0])
            at = plain.end()
            continue
        character = text[at]
        if character in "{[":
            brackets.append(character)
            out.append(character)
            at += 1
            continue
        if character in "}]":
            if not brackets or _CLOSING[brackets.pop()] != character:
                raise ValueError("a bracket closes nothing")
            out.append(character)
            at += 1
            continue
        looked_at += 1
        if looked_at > _MAX_MENDS:
            raise ValueError("too many mistakes")
        part, at = _mend_at(text, at, out)
        out.append(part)
    mended = "".join(out)
    if brackets:
        if not mended.rstrip().endswith(('"', "}", "]", "true", "false", "null")):
            raise ValueError("the last value may be cut off")
        mended += "".join([_CLOSING[bracket] for bracket in reversed(brackets)])
    return mended


def _mend_at(text: str, at: int, before: list[str]) -> tuple[str, int]:
    """Return what stands here, mended, and where it ends. before: the text before it, mended."""
    character = text[at]
    if character == ",":
        comma = _AFTER_COMMA.match(text, at)
        if comma is None or _last_character(before) in ("", *"{[,:"):
            raise ValueError("a value is missing")
        return "", comma.end()
    if character == '"':
        string = _STRING.match(text, at)
        if string is not None:
            return f'"{_mend_backslashes(string[1])}"', string.end()
    elif character in _WIDE_QUOTES:
        string = _WIDE_QUOTES[character].match(text, at)
        if string is not None:
            return f'"{_with_straight_quotes(string[1])}"', string.end()
    elif character == "'":
        string = _SINGLE_QUOTED.match(text, at)
        if string is not None:
            return f'"{string[1]}"', string.end()
    elif constant := _CONSTANT.match(text, at):
        return _CONSTANTS[constant[0]], constant.end()
    raise ValueError("no JSON")


def _with_straight_quotes(body: str) -> str:
    """Return the inside of a string in full-width quotes as it is written in straight ones."""
    if body.count('"') + body.count("\\") > _MAX_MENDS:
        raise ValueError("too many mistakes")

    def escape(match: re.Match[str]) -> str:
        if match[0] == '"':
            return '\\"'
        return match[1] if match[1] in _WIDE_QUOTES else match[0]  # an escaped full-width quote

    return _mend_backslashes(re.sub(r'\\(.)|"', escape, body, flags=re.DOTALL))


def _mend_backslashes(body: str) -> str:
    """Return the inside of a string with backslashes doubled where they are certainly text."""
    if "\\" not in body:
        return body
    broken = "\\" in re.sub(_ESCAPE, "", body)
    if not broken and _PATH.fullmatch(body) is None:
        return body
    whole_path = _STARTS_WITH_DRIVE.match(body) is not None
    segment = _SEGMENT
    parts: list[str] = []
    end, segment_start = 0, -1  # segment_start: behind the last backslash of a path, else -1
    for count, match in enumerate(_BACKSLASH.finditer(body)):
        if count > _MAX_MENDS:
            raise ValueError("too many mistakes")
        start, name = match.start(), match[1]
        in_path = segment_start >= 0 and segment.fullmatch(body, segment_start, start) is not None
        if _DRIVE.search(body, max(0, start - 3), start):
            in_path = True
            segment = _SEGMENT_OF_WHOLE_PATH if whole_path else _SEGMENT_BEHIND_DRIVE
        follows = _WORD.match(body, match.end()) is not None
        if name in ('"', "/") or len(name) > 1:
            double, in_path = False, False
        elif name == "\\":
            double = False
        elif name in "bfnrt":
            # Nobody who writes `\s` for a backslash and an s writes `\b` for a backspace.
            double = (in_path and follows) or (broken and name in "bf")
            in_path = in_path and follows
        else:
            double = True
            if not in_path:
                segment = _SEGMENT
                in_path = _WORD.match(body, max(0, start - 1), start) is not None
        parts += (body[end:start], "\\" if double else "", match[0])
        end = match.end()
        segment_start = -1 if not in_path else match.end() if name == "\\" else start + 1
    return "".join(parts) + body[end:]


def _last_character(parts: list[str]) -> str:
    """Return the last character that is not white space; "" if there is none."""
    for part in reversed(parts):
        if stripped := part.rstrip():
            return stripped[-1]
    return ""


def _has_written_numbers(value: Any) -> bool:
    level = [value]
    while level:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, WrittenNumber):
                return True
        level = inner
    return False


def _encode(value: Any, comma: str, colon: str) -> str:
    if isinstance(value, WrittenNumber):
        return value.text
    if isinstance(value, dict):
        members = [
            f"{_scalar(name)}{colon}{_encode(inner, comma, colon)}" for name, inner in value.items()
        ]
        return "{" + comma.join(members) + "}"
    if isinstance(value, list):
        return "[" + comma.join([_encode(item, comma, colon) for item in value]) + "]"
    return _scalar(value)


def _read_integer(text: str) -> int | float:
    return WrittenNumber(text) if text == "-0" else int(text)


def _read_float(text: str) -> float:
    number = float(text)
    return number if repr(number) == text else WrittenNumber(text)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and the like are not JSON


# json.dumps and json.loads would make an encoder or a decoder at each call.
_scalar = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
decode = json.JSONDecoder(
    parse_float=_read_float,
    parse_int=_read_integer,
    parse_constant=_refuse_constant,
    strict=False,
).decode
"""Decodes JSON, which may have raw line ends and tabs in strings. Numbers keep their digits.

Raises ValueError or RecursionError.
"""
