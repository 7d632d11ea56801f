"""Writes a recorded answer as a test of pytest, formatted as the project's own tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from gateway.fitten.tools.record import AnswerRecord
from gateway.fitten.tools.recorder import REASONS
from gateway.generation.pieces import Piece
from gateway.replay.reader import Reading, is_cut, raw_pieces

_WIDTH = 100
_LONGEST_IN_ONE = _WIDTH - len("    pieces, finish_reason = read_again()")
_LONG = 40  # characters; a longer text has a name
_PART = 88  # characters of one line of a long text, with its quotes

_TEMPLATE = '''\
"""{about}"""

from __future__ import annotations

from typing import Any

from gateway.generation.pieces import Piece
from gateway.generation.request import {imported}
from gateway.replay.reader import read_again
from tests.unit.fitten.tools.reading.test_parser import said

{texts}{data}


def test_the_answer_of_{stamp}_is_read_as_expected() -> None:
{tools}
    pieces, finish_reason = {reading}
    assert said(pieces) == EXPECTED
    assert finish_reason == {reason}
'''
_TOOLS = """\
    tools = [Tool(name, "", schema) for name, schema in SCHEMAS.items()]"""
_TOOLS_OF_KINDS = """\
    tools = [
        Tool(name, "", schema, kind=KINDS.get(name, "function")) for name, schema in SCHEMAS.items()
    ]"""
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def file_name(record: AnswerRecord) -> str:
    """Return the name of the file in which the test belongs."""
    return f"tests/unit/fitten/tools/test_recorder_{_stamp(record)}.py"


def write_test_case(record: AnswerRecord, reading: Reading) -> str:
    """Return the text of a file with one test: the answer is read as it is now.

    If the reading is wrong, `EXPECTED` has to be corrected by hand. Nothing in the record can
    become code.
    """
    names = _TextNames()
    schemas = {tool.name: tool.parameters for tool in record.tools}
    kinds = {tool.name: tool.kind for tool in record.tools if tool.kind != "function"}
    data = [
        _assign("SCHEMAS: dict[str, dict[str, Any]]", schemas, names),
        *([_assign("KINDS: dict[str, ToolKind]", kinds, names)] if kinds else ()),
        _assign("RAW: list[Piece]", [(kind, text) for kind, text in raw_pieces(record)], names),
        _assign("EXPECTED: list[tuple[str, Any]]", _expected(reading.pieces), names),
    ]
    arguments = ["RAW", "tools"]
    if not record.parallel:
        arguments.append("parallel=False")
    if record.max_tokens is not None:
        arguments.append(f"max_tokens={record.max_tokens}")
    if record.finish_reason is None:
        arguments.append("whole=False")
    if record.block is not None:
        arguments.append(f"value={_quoted(record.block)}")
        if not record.streamed:
            arguments.append("streamed=False")
    if record.repairable:
        arguments.append("repairable=True")
    if record.continues:
        arguments.append(f"continues={names.shown(record.continues)}")
    reasons = ", ".join(reason for reason in record.reasons if reason in REASONS) or "no reason"
    return _TEMPLATE.format(
        about=f"An answer that was recorded: {reasons}{'; a part is missing' * is_cut(record)}.",
        texts="".join(f"{line}\n" for line in names.assignments()),
        data="\n".join(data),
        stamp=_stamp(record),
        imported="Tool, ToolKind" if kinds else "Tool",
        tools=_TOOLS_OF_KINDS if kinds else _TOOLS,
        reading=_reading(arguments),
        reason=_quoted(reading.finish_reason),
    )


def _reading(arguments: list[str]) -> str:
    """Return the call of the reader, in several lines if it is too long for one."""
    line = ", ".join(arguments)
    if len(line) <= _LONGEST_IN_ONE:
        return f"read_again({line})"
    if len(line) <= _WIDTH - 8:
        return f"read_again(\n        {line}\n    )"
    return "read_again(\n" + "".join(f"        {one},\n" for one in arguments) + "    )"


def _stamp(record: AnswerRecord) -> str:
    """Return the time of a record as a part of a name."""
    stamp = re.sub(r"[^0-9a-z]", "", record.time.lower())
    return stamp if re.fullmatch(r"\d{8}t\d{6}z", stamp) else "unknown_time"


def _expected(pieces: list[Piece]) -> list[tuple[str, Any]]:
    """Return the pieces as `said` of the tests joins them."""
    joined: list[tuple[str, str]] = []
    calls: set[int] = set()
    for kind, text in pieces:
        if kind == "call":
            calls.add(len(joined))
            joined.append((text, ""))
        elif kind == "arguments" or (joined and joined[-1][0] == kind):
            joined[-1] = (joined[-1][0], joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return [
        (name, _value_of(text) if number in calls else text)
        for number, (name, text) in enumerate(joined)
    ]


def _value_of(arguments: str) -> Any:
    """Return the arguments of a call; the text itself if the call is cut off."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


class _TextNames:
    """Gives names to long texts, so that lists and schemas stay readable."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def shown(self, text: str) -> str:
        """Return a text as a literal, or its name."""
        if len(text) <= _LONG and "\n" not in text:
            return _quoted(text)
        return self._names.setdefault(text, f"TEXT_{len(self._names) + 1}")

    def assignments(self) -> Iterator[str]:
        """Return the lines that define the names."""
        for text, name in self._names.items():
            line = f"{name} = {_quoted(text)}"
            if len(line) <= _WIDTH:
                yield line
            else:
                yield f"{name} = ("
                yield from (f"    {_quoted(part)}" for part in _parts(text))
                yield ")"


def _assign(name: str, value: Any, names: _TextNames) -> str:
    return f"{name} = {_shown(value, names, 0, len(name) + 3)}"


def _shown(value: Any, names: _TextNames, indent: int, used: int) -> str:
    """Return a value as a literal, in several lines if it does not fit behind `used` columns."""
    flat = _flat(value, names)
    if used + len(flat) + 1 <= _WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return flat
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        opening, closing = "{}"
        items = [(f"{names.shown(key)}: ", item) for key, item in value.items()]
    else:
        opening, closing = "()" if isinstance(value, tuple) else "[]"
        items = [("", item) for item in value]
    lines = [
        f"{inner}{start}{_shown(item, names, indent + 4, indent + 4 + len(start))},\n"
        for start, item in items
    ]
    return f"{opening}\n{''.join(lines)}{' ' * indent}{closing}"


def _flat(value: Any, names: _TextNames) -> str:
    if isinstance(value, str):
        return names.shown(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{names.shown(k)}: {_flat(v, names)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        items = ", ".join(_flat(item, names) for item in value)
        return f"({items})" if isinstance(value, tuple) else f"[{items}]"
    return repr(value)


def _quoted(text: str) -> str:
    """Return a text as a literal, in the quotes that need fewer escapes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return f"{quote}{''.join(_escaped(c, quote) for c in text)}{quote}"


def _escaped(character: str, quote: str) -> str:
    if character == quote:
        return f"\\{quote}"
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else ascii(character)[1:-1]


def _parts(text: str) -> Iterator[str]:
    """Return the parts of a text that fit on a line each; a line end ends a part."""
    part, size = "", 2
    for character in text:
        width = max(len(_escaped(character, quote)) for quote in "'\"")
        if part and (size + width > _PART or part.endswith("\n")):
            yield part
            part, size = "", 2
        part += character
        size += width
    if part:
        yield part
