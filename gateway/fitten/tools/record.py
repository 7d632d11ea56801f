"""Defines the record of an answer that could not be read: what it holds, as JSON. No I/O.

A record has what the model wrote and what is needed to read it again. It has nothing of the
prompt: of the tools, only the names and the parts of the schemas that say what is valid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.generation.request import Tool, ToolKind
from gateway.redaction import printable_json

FORMAT = 1
"""The version of the form of a record."""

MAX_RECORD = 8 * 1024 * 1024
"""The most bytes of a record's JSON."""

MAX_TOOLS = 256
_MAX_SCHEMAS = 256 * 1024  # characters of all schemas as JSON; more are left out
_MAX_NODES = 20_000  # schemas, lists and values of all tools
_MAX_DEPTH = 64

# Parts of a schema that are schemas, lists of schemas, and schemas by name.
_ONE = frozenset(
    (
        *("items", "additionalItems", "additionalProperties", "contains", "else", "if", "not"),
        *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_LISTS = frozenset(("allOf", "anyOf", "items", "oneOf", "prefixItems"))
_NAMED = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
# Parts that are values. No texts for people are among them, such as descriptions and examples.
_VALUES = frozenset(
    (
        *("$anchor", "$id", "$ref", "const", "enum", "exclusiveMaximum", "exclusiveMinimum"),
        *("format", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength"),
        *("minProperties", "minimum", "multipleOf", "nullable", "pattern", "required", "type"),
        "uniqueItems",
    )
)

Hide = Callable[[str], str]

RawKind = Literal["content", "reasoning", "cut"]


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """Describes which part of an answer is recorded, if a repair may make it two chats.

    number, repairable, repaired, continues: see `AnswerRecord`.
    """

    number: int = 1
    repairable: bool = False
    repaired: str | None = None
    continues: str = ""


class RecordedTool(msgspec.Struct, omit_defaults=True):
    """Describes a tool that was offered; `parameters` is its schema without descriptions.

    kind: see `generation.request.Tool`.
    """

    name: str
    parameters: dict[str, Any]
    kind: ToolKind = "function"


class AnswerRecord(msgspec.Struct, kw_only=True):
    """Holds an answer as the model wrote it, and what became of it.

    gateway: the version of the gateway. time: of the end, in UTC, ISO 8601.
    block: the value in the marks of the hybrid notation; None in other notations.
    reasons: why it was kept: `unreadable`, `marker_leaked`, `empty`, `loop` or `error`.
    error: of `error`, the cause or the kind of an exception.
    raw: the texts and their kinds, `content` or `reasoning`. A text of the kind `cut` stands
        where so many bytes were left out.
    masked: whether a secret in it was masked.
    schemas_left_out: whether the schemas were too large to be kept.
    max_tokens: as the client sent it. stop_strings: how many stop strings it sent.
    came_out: what the client got: the kind and the characters of each text, and the names of
        calls.
    streamed: whether the client got the name of a call at once.
    repairable: whether a call that could not be read was held back for a repair.
    repaired: why the answer was repaired: `cut`, `form` or `empty`; None if it was not.
    part: 1 for the first answer, 2 for the one that repairs it.
    continues: of a part 2 that continues a call, the text of part 1.
    """

    format: int
    gateway: str
    time: str
    request_id: str | None
    key: str
    model: str
    notation: str
    block: str | None = None
    reasons: list[str]
    error: str | None = None
    finish_reason: str | None
    raw: list[tuple[RawKind, str]]
    masked: bool
    tools: list[RecordedTool]
    schemas_left_out: bool
    parallel: bool
    max_tokens: int | None
    stop_strings: int
    came_out: list[tuple[str, str | int]]
    streamed: bool = True
    repairable: bool = False
    repaired: str | None = None
    part: int = 1
    continues: str = ""


class BadRecord(ValueError):
    """Reports that bytes are not a record that can be read."""


def encode_record(record: AnswerRecord) -> bytes:
    """Return the JSON of a record, in one line that a terminal can show."""
    line = json.dumps(msgspec.to_builtins(record), ensure_ascii=False, separators=(",", ":"))
    if not line.isascii():  # may have a lone surrogate, which strict parsers refuse
        line = line.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return printable_json(line).encode() + b"\n"


def decode_record(raw: bytes) -> AnswerRecord:
    """Return the record of these bytes. Raises BadRecord."""
    try:
        record = msgspec.json.decode(raw, type=AnswerRecord)
    except msgspec.ValidationError as error:
        raise BadRecord(f"is not the record of an answer: {error}") from None
    except (ValueError, RecursionError):
        raise BadRecord("is not JSON") from None
    if record.format != FORMAT:
        raise BadRecord(f"has the format {record.format}; this version reads {FORMAT}")
    if len(record.tools) > MAX_TOOLS:
        raise BadRecord(f"has more than {MAX_TOOLS} tools")
    names = [tool.name for tool in record.tools]
    if len({*names}) < len(names):
        raise BadRecord("has two tools of one name")
    return record


def record_tools(tools: Iterable[Tool], hide: Hide) -> tuple[list[RecordedTool], bool]:
    """Return the tools for a record, and whether their schemas were left out.

    hide: masks the secrets in a text.
    """
    reducer = _SchemaReducer(hide)
    tools = list(tools)
    try:
        kept = [
            RecordedTool(hide(tool.name), reducer.reduce(tool.parameters), tool.kind)
            for tool in tools
        ]
        if len(json.dumps([tool.parameters for tool in kept], allow_nan=False)) <= _MAX_SCHEMAS:
            return kept, False
    except (_TooLarge, ValueError):  # of values that JSON does not have
        pass
    return [RecordedTool(hide(tool.name), {}, tool.kind) for tool in tools], True


class _TooLarge(Exception):
    pass


class _SchemaReducer:
    """Copies schemas without what is written for people, in a bounded number of steps."""

    def __init__(self, hide: Hide) -> None:
        self._hide = hide
        self._left = _MAX_NODES

    def reduce(self, schema: Any, depth: int = 0) -> Any:
        """Return a copy of a schema. Raises _TooLarge."""
        self._spend(depth)
        if not isinstance(schema, Mapping):
            return schema if isinstance(schema, bool) else {}
        copy: dict[str, Any] = {}
        for name, part in schema.items():
            if name in _LISTS and isinstance(part, list):
                copy[name] = [self.reduce(one, depth + 1) for one in part]
            elif name in _NAMED and isinstance(part, Mapping):
                copy[name] = {
                    self._hide(key): self.reduce(one, depth + 1) for key, one in part.items()
                }
            elif name in _ONE:
                copy[name] = self.reduce(part, depth + 1)
            elif name in _VALUES:
                copy[name] = self._value(part, depth + 1)
        return copy

    def _value(self, value: Any, depth: int) -> Any:
        self._spend(depth)
        if isinstance(value, str):
            return self._hide(value)
        if isinstance(value, list):
            return [self._value(one, depth + 1) for one in value]
        if isinstance(value, Mapping):
            return {self._hide(key): self._value(one, depth + 1) for key, one in value.items()}
        return value

    def _spend(self, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise _TooLarge
