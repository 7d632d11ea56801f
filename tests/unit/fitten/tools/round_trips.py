"""Round trips of random calls: written into the history, read back from an answer.

`make round-trips` runs 200,000 of them, spread over the processors. A failure prints its number,
which makes it again: `python -m tests.unit.fitten.tools.round_trips NUMBER`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Any

from gateway.fitten.tools.quotations import Quotations
from gateway.fitten.tools.reading.parser import ToolParser
from gateway.fitten.tools.writing import block_value
from gateway.fitten.tools.writing.prompt import write_tools
from gateway.generation.request import GenerationRequest, Message, Tool, ToolCall

KEY = b"round trips"
ALL = 200_000
_PART = 2_000  # numbers that a process takes at a time

# Long and short names; no two of them differ in upper and lower case only.
NAMES = ("path", "old_string", "new_string", "a.b", "x-1", "名字", "with blank", "a>b", "<arg", "")
TOOL_NAMES = ("Edit", "mcp__files__read", "工具", "a.b:c", "t-1")
FRAGMENTS = (
    *(
        "\n",
        "\n",
        "\n",
        "\r",
        "\r\n",
        "\0",
        "\x85",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\t",
        " ",
        "\x1b",
    ),
    *("</arg-ABCD>", "\n</arg-K7QD>\n", "</arg>", "\n</arg>\n", "</call-K7QD>\n", "\n</call>"),
    *("<call-K7QD Edit>\n{}\n</call-K7QD>", "<arg path>", "<arg ", "</a", "\n</", "<", "</", "-"),
    *("<result-K7QD Edit 1 ok>", "</result-K7QD>", "<tools-K7QD>", "<think>", "</think>"),
    *("<tool_call>", "</tool_call>", '{"name": "Edit", "arguments": {}}', "[TOOL_CALLS]", "```"),
    *("<｜tool▁calls▁begin｜>", "<|tool_calls_section_begin|>", "<|end|>"),
    *("<function=Edit>", "<invoke>", "`", "~~~\n", "\\", '"', "\\n", "\\u004b", "'", "“", "{"),
    *("}", "[", "]", ",", ":", "null", "true", "17", "0x1f", "a", "Zz", "é", "中文，。", "\ufeff"),
    *("👩‍👩‍👧", "\U0010ffff", "<｜tool▁call▁end｜>"),
)


def random_text(random: Random, longest: int = 12) -> str:
    parts = random.choices(FRAGMENTS, k=random.randrange(longest))
    if random.random() < 0.2:
        parts.append(
            chr(random.choice((random.randrange(0xD800), random.randrange(0xE000, 2**16))))
        )
    if random.random() < 0.05:
        parts.append("\n" * random.randrange(9))
    if random.random() < 0.02:
        parts.append("long line " * 40)
    random.shuffle(parts)
    return "".join(parts)


def random_value(random: Random, depth: int = 0) -> Any:
    kind = random.randrange(9 if depth < 3 else 7)
    if kind == 7:
        return [random_value(random, depth + 1) for _ in range(random.randrange(4))]
    if kind == 8:
        names = [random_text(random, 3) for _ in range(random.randrange(4))]
        return {name: random_value(random, depth + 1) for name in names}
    small, large = random.randrange(-9, 99), random.randrange(-(2**63), 2**63)
    number = random.choice((0.1, -2.5, 1e300, 5e-324, random.random(), random.uniform(-1e9, 1e9)))
    return (random_text(random), small, large, number, True, False, None)[kind]


def type_of(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return "null" if value is None else kinds.get(type(value), "object")


def random_arguments(random: Random) -> dict[str, Any]:
    """Arguments of which most are texts, as those of agents."""
    names = random.sample(NAMES, random.randrange(5))
    return {
        name: random_text(random) if random.random() < 0.7 else random_value(random)
        for name in names
    }


def random_call(random: Random) -> tuple[Tool, dict[str, Any]]:
    arguments = random_arguments(random)
    properties = {
        name: {"type": type_of(value)}
        for name, value in arguments.items()
        if type_of(value) != "string" or random.random() < 0.8  # else the schema says nothing
    }
    schema = {"type": "object", "properties": properties}
    return Tool(random.choice(TOOL_NAMES), "", schema), arguments


def cuts(random: Random, text: str) -> list[str]:
    """The text in pieces: whole, character by character, or cut anywhere."""
    way = random.randrange(8)
    if way < 2:
        return [text] if way else list(text)
    places = sorted(random.choices(range(len(text) + 1), k=random.randrange(1, 12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def read(parser: ToolParser, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """Return the text and the calls of an answer in these pieces."""
    found = [piece for text in pieces for piece in parser.feed([("content", text)])]
    found += parser.flush()
    assert parser.cut_call is None
    calls: list[tuple[str, str]] = []
    for kind, text in found:
        if kind == "call":
            calls.append((text, ""))
        elif kind == "arguments":
            name, before = calls.pop()
            calls.append((name, before + text))
    return "".join([text for kind, text in found if kind == "content"]), calls


def round_trip(number: int) -> None:
    """Write one to three calls, read them back, and fail if they are not the same."""
    random = Random(number)
    calls = [random_call(random) for _ in range(random.choice((1, 1, 2, 3)))]
    first = random_text(random)
    if random.random() < 0.1:  # the best values are taken
        likely = list(block_value.candidates([Message("user", first)], KEY))[:3]
        calls[0][1]["path"] = "".join(f"\n</arg-{value}>" for value in likely)
        calls[0][0].parameters["properties"]["path"] = {"type": "string"}
    history = tuple(
        ToolCall(str(place), f"{place}{tool.name}", json.dumps(arguments, ensure_ascii=False))
        for place, (tool, arguments) in enumerate(calls)
    )
    tools = tuple(
        Tool(f"{place}{tool.name}", "", tool.parameters) for place, (tool, _) in enumerate(calls)
    )
    said = random.choice(("", "I edit."))
    messages = (Message("user", first), Message("assistant", said, calls=history))
    request = GenerationRequest((*messages, Message("user", "go on")), tools=tools)
    written = write_tools(request, "hybrid", default_system="", key=KEY)
    answer = written.messages[-2].text
    quoted = Quotations(messages).has
    parser = ToolParser(tools, value=written.value, quoted=quoted)
    text, found = read(parser, cuts(random, answer))
    assert text.strip() == said
    assert [name for name, _ in found] == [tool.name for tool in tools]
    for (_, wanted), (_, arguments) in zip(calls, found, strict=True):
        assert same(json.loads(arguments), wanted), (answer, arguments)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, and True is not 1, nor 1 the same as 1.0."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(
        other, sort_keys=True
    )


def run(first: int, count: int) -> int | None:
    """Run round trips; return the number of the first that fails."""
    for number in range(first, first + count):
        try:
            round_trip(number)
        except Exception as error:
            print(f"round trip {number}: {error!r}"[:2000], file=sys.stderr)
            return number
    return None


def main() -> int:
    if sys.argv[1:]:
        round_trip(int(sys.argv[1]))
        return 0
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        parts = range(0, ALL, _PART)
        failed = [n for n in pool.map(run, parts, [_PART] * len(parts)) if n is not None]
    print(f"{ALL:,} round trips in {time.monotonic() - began:.0f} s, failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
