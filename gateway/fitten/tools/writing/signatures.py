"""Describes offered tools as signatures: one line per argument instead of a JSON schema. No I/O.

    Edit: Replaces text in a file.
    | A second line of the description.
     file_path: The absolute path
     replace_all? boolean = false: Replace every occurrence

A line that begins with a name is a tool. An indented one is an argument (`?`: it may be left
out; without a type: a string), or a member of the argument above it that is indented less. A
line that begins with `|` goes on with the description above it. No other line begins with a
name: other names are JSON strings.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock

import msgspec

from gateway.fitten.tools.writing.descriptions import Description, clean, shorten_all
from gateway.fitten.tools.writing.schema_example import example_arguments, example_value
from gateway.fitten.tools.writing.schema_references import NodeBudget, encode_json
from gateway.fitten.tools.writing.schema_types import SchemaWriter, Segments, word
from gateway.generation.request import Tool

__all__ = ["BUDGET", "RenderedTools", "example_arguments", "render_tools"]

# A description that several tools have is written once if it is at least this long.
_SHARED = 200

BUDGET = 40_000
"""Characters of all tools beyond which descriptions are shortened, unless others are given."""


@dataclass(frozen=True, slots=True)
class RenderedTools:
    """Holds the text of the tools, in the order in which they were given.

    stage: how far descriptions were shortened: 0 not at all, 1 to 1,200 characters, 2 to 300,
    3 to a sentence. shortened: how many of them were.
    """

    text: str
    stage: int
    shortened: int


class RenderingCache:
    """Keeps the latest renderings, since an agent sends the same tools in each turn.

    entries, characters: the limits of what is kept; a larger rendering is not kept.
    """

    def __init__(self, entries: int = 64, characters: int = 4_000_000) -> None:
        self._limits = entries, characters
        self._kept: OrderedDict[bytes, RenderedTools] = OrderedDict()
        self._characters = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> RenderedTools | None:
        """Return what is kept under a key, or None."""
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: bytes, rendered: RenderedTools) -> None:
        """Keep a rendering, and forget the ones that were not used for longest."""
        entries, characters = self._limits
        if len(rendered.text) > characters:
            return
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self._characters -= len(old.text)
            self._kept[key] = rendered
            self._characters += len(rendered.text)
            while len(self._kept) > entries or self._characters > characters:
                _, forgotten = self._kept.popitem(last=False)
                self._characters -= len(forgotten.text)


_cache = RenderingCache()


def render_tools(
    tools: Sequence[Tool],
    *,
    budget: int = BUDGET,
    named: str | None = None,
    cache: RenderingCache = _cache,
) -> RenderedTools:
    """Return the tools as text. The same tools always have the same text.

    budget: characters of the text beyond which descriptions are shortened, visibly.
    named: the tool whose descriptions stay whole.
    """
    key = _digest(tools, budget, named)
    rendered = cache.get(key) if key else None
    if rendered is None:
        rendered = _render(tools, budget, named)
        if key:
            cache.put(key, rendered)
    return rendered


def _digest(tools: Sequence[Tool], budget: int, named: str | None) -> bytes | None:
    """Return a key for the cache; None for tools that are not JSON of a usual depth."""
    value = [budget, named, [(tool.name, tool.description, tool.parameters) for tool in tools]]
    try:
        return blake2b(msgspec.json.encode(value), digest_size=32).digest()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _render(tools: Sequence[Tool], budget: int, named: str | None) -> RenderedTools:
    out: Segments = []
    nodes = NodeBudget()
    shared: dict[str, str] = {}
    for tool in tools:
        is_named = tool.name == named
        schema: object = {} if tool.parameters is None else tool.parameters
        if isinstance(schema, Mapping) and not isinstance(schema, dict):
            schema = dict(schema)
        description = _describe(tool, schema)
        out.append(word(tool.name))
        if description in shared and not is_named:
            out.append(f": (same text as {shared[description]})")
        elif description:
            out += [": ", Description(description, "", is_named)]
            if len(description) >= _SHARED:
                shared.setdefault(description, word(tool.name))
        out.append("\n")
        writer = SchemaWriter(schema, out, nodes, whole=is_named)
        writer.write(description)
        if writer.nested:
            out.append(f" (example) {encode_json(example_value(tool, nested=True))}\n")
    return _shorten(out, budget)


def _describe(tool: Tool, schema: object) -> str:
    """Return the description of a tool; what its schema adds to it is a further line."""
    said = clean(tool.description)
    more = clean(schema.get("description")) if isinstance(schema, dict) else ""
    return said if more in said else f"{said}\n{more}".strip()


def _shorten(out: Segments, budget: int) -> RenderedTools:
    descriptions = [part for part in out if isinstance(part, Description)]
    text = _join(out)
    stage = shorten_all(descriptions, len(text) - budget) if len(text) > budget else 0
    if stage:
        text = _join(out)
    return RenderedTools(text, stage, sum(d.shown is not None for d in descriptions))


def _join(out: Segments) -> str:
    parts = [part if isinstance(part, str) else part.write() for part in out]
    return "".join(parts).removesuffix("\n")
