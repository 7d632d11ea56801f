"""Calls in an answer: each notation and quirk, whatever the cuts, and nothing is lost."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emulator.scenarios.call_notations import NOTATIONS, QUIRKS, Notation, Quirk, written
from emulator.scenarios.tool_use import MadeCall
from gateway.fitten.tools.reading.parser import ToolParser
from gateway.fitten.tools.reading.parser_output import PIECE
from gateway.fitten.tools.reading.text_reader import MAX_HELD
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool
from tests.counting import calls_of

WEATHER = Tool(
    "get_weather",
    "Tells the weather.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "hourly": {"type": "boolean"},
            "unit": {"type": ["string", "null"]},
            "area": {"type": "object", "properties": {"radius": {"type": "number"}}},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    },
)
CLOCK = Tool("clock", "Tells the time.", {"type": "object", "properties": {}})
WRITE = Tool(
    "write_file",
    "",
    {
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["path", "content"],
    },
)
TOOLS = (WEATHER, CLOCK, WRITE)
ARGUMENTS: dict[str, Any] = {
    "city": "Rio",
    "days": 3,
    "hourly": True,
    "unit": None,
    "area": {"radius": 2.5},
    "tags": ["a", "b"],
}
PLAIN = MadeCall("get_weather", {"city": "Paris", "days": 3})
RICH = MadeCall("get_weather", ARGUMENTS)
OTHER = MadeCall("not_offered", {"a": "b"})
FILE = MadeCall("write_file", {"path": "a.c", "content": 'if (a < b && c) { puts("hi"); }\n'})


Said = list[tuple[str, Any]]


def said(pieces: Sequence[Piece]) -> Said:
    """The pieces joined: text, and calls with their arguments as objects; cut ones as text."""
    joined: list[tuple[str, Any]] = []
    for kind, text in pieces:
        assert text
        if kind == "call":
            joined.append((text, ""))
        elif kind == "arguments" or (joined and joined[-1][0] == kind):
            joined[-1] = (joined[-1][0], joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return [
        (name, text if name in ("content", "reasoning") else arguments_of(text))
        for name, text in joined
    ]


def arguments_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def parsed(texts: Sequence[str], *, parallel: bool = True, together: bool = False) -> Said:
    parser = ToolParser(TOOLS, parallel=parallel)
    pieces: list[Piece] = [("content", text) for text in texts]
    out: list[Piece] = []
    for batch in [pieces] if together else [[piece] for piece in pieces]:
        out += parser.feed(batch)
    out += parser.flush()
    result = said(out)
    assert parser.called == any(name not in ("content", "reasoning") for name, _ in result)
    return result


def calls(result: Said) -> Said:
    return [item for item in result if item[0] != "content"]


def text_of(result: Said) -> str:
    return "".join(text for name, text in result if name == "content")


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("made", [PLAIN, RICH], ids=["plain", "rich"])
def test_every_notation_is_understood(notation: Notation, made: MadeCall) -> None:
    text = written([made], notation)
    assert parsed([text]) == [(made.tool, made.arguments)]
    assert parsed(list(text)) == [(made.tool, made.arguments)]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_every_notation_carries_code(notation: Notation) -> None:
    assert parsed([written([FILE], notation)]) == [("write_file", FILE.arguments)]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_several_calls_in_every_notation(notation: Notation) -> None:
    text = written([PLAIN, MadeCall("clock", {}), FILE], notation)
    assert [name for name, _ in parsed([text])] == ["get_weather", "clock", "write_file"]


@pytest.mark.parametrize("quirk", [quirk for quirk in QUIRKS if quirk != "broken"])
@pytest.mark.parametrize("notation", NOTATIONS)
def test_every_quirk_in_every_notation(notation: Notation, quirk: Quirk) -> None:
    text = written([PLAIN], notation, quirk)
    result = parsed([text])
    assert calls(result) == [(PLAIN.tool, PLAIN.arguments)]
    expected = {
        "prose": "Let me look that up.\n\n",
        "prose_after": "Let me look that up.\n\n\n\nOne moment, please.",
    }
    assert text_of(result) == expected.get(quirk, "")


@pytest.mark.parametrize("notation", ["parameters", "use_tool", "tag"])
def test_a_call_whose_own_end_is_missing_is_text(notation: Notation) -> None:
    """What is missing at the end could be part of the call."""
    text = written([PLAIN], notation, "unwrapped").rpartition("\n")[0]
    assert parsed([text]) == [("content", text)]
    assert parsed(list(text)) == [("content", text)]


def test_a_listing_may_have_one_head_or_one_for_each_call() -> None:
    repeated = written([PLAIN, MadeCall("clock", {})], "listing")
    assert repeated.count("[tool_calls]") == 2
    head, _, rest = repeated.partition("\n")
    once = f"{head}\n{rest.replace(head, '').replace(chr(10) * 2, chr(10))}"
    assert once.count("[tool_calls]") == 1
    expected = [("get_weather", PLAIN.arguments), ("clock", {})]
    for text in (repeated, once, repeated + "\n[/tool_calls]"):
        assert parsed([text]) == parsed(list(text)) == expected
        assert parsed([text + "\nDone."]) == [*expected, ("content", "\nDone.")]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_call_that_breaks_off_comes_out_as_the_text_it_is(notation: Notation) -> None:
    text = written([RICH], notation, "broken")
    assert parsed([text]) == [("content", text)]
    assert parsed(list(text)) == [("content", text)]


@pytest.mark.parametrize(
    "text",
    [
        "a <br/> b <hr> <b>bold</b>",
        '<?xml version="1.0"?>\n<get_weather><city>Rio</city></get_weather>',
        "<!DOCTYPE html>\n<clock/>",
        '<note to="you"><body>hi</body></note>',
        '{"name": "Alice", "arguments": {"a": 1}}',
        '{"name": "get_weather"}',
        '{"city": "Rio"}',
        '{"name": "get_weather", "arguments": {}, "score": 1}',
        '[{"id": 1, "type": "x"}, {"id": 2}]',
        "```json\n{\"city\": \"Rio\"}\n```\n",
        '```python\nx = {"name": "clock", "arguments": {}}\n```\n',
        '```xml\n<get_weather city="Rio"/>\n```\n',
        '```\nsee:\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>\n```\n',
        'Write `<get_weather city="Rio"/>` to call it.',
        'It is called like this: {"name": "clock", "arguments": {}}',
        "Say `please <clock/> now` or ``<clock/>``.",
        '{"calls": [\n  {"name": "clock", "arguments": {}}\n]}',
        '<report>\n  <get_weather city="Rio"/>\n</report>',
        '<report><get_weather city="Rio"/> <clock/></report>',
        '<clock zone="utc"/>',
        "<get_weather>",
        "<get_weather/>",
        '<get_weather town="Rio"/>',
        "<clock>tick</clock>",
        '<function_calls><other a="1"/></function_calls>',
        '<invoke name="other"><parameter name="a">1</parameter></invoke>',
        "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>",
        "<tool_call>\n{\"name\": \"clock\", \"arguments\": [1]}\n</tool_call>",
        "<tool_call>\n{\"name\": \"clock\", \"arguments\": {\"a\": NaN}}\n</tool_call>",
        "<tool_call></tool_call>",
        "[tool_calls] are lists",
        "if a < b and c[0] { d }",
        "\n\n  leading and trailing  \n\n",
        "<" * 50 + "[" * 50 + "{" * 50,
        "`" * 50 + "\n" + "```\n" * 3,
        "",
    ],
)  # fmt: skip
def test_what_is_no_call_passes_unharmed(text: str) -> None:
    expected = [("content", text)] if text else []
    assert parsed([text]) == expected
    assert parsed(list(text)) == expected


def cut(text: str, places: Sequence[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(bounds)]


made = st.sampled_from([PLAIN, RICH, FILE, MadeCall("clock", {}), MadeCall("other", {"a": "b"})])
blocks = st.builds(
    written, st.lists(made, min_size=1, max_size=3), st.sampled_from(NOTATIONS),
    st.sampled_from(QUIRKS),
)  # fmt: skip
shards = st.sampled_from(
    ["\n", " ", "text", "<", ">", "/", "{", "}", "[", "]", '"', "`", "```", "```json\n", "\n```\n",
     "<tool_call>", "</tool_call>", "<function_calls>", "</function_calls>", "[tool_calls]",
     "<get_weather ", "city=", "“", "&quot;", "<function_results>", "</function_results>",
     '{"name": ', '"clock"', '"arguments": {}', ",", "- name: clock\n", "\\", "<?xml ", "é好",
     "~~~", "<think>", "\n<think>", "</think>", ".", "：", "<function=", "clock", "<parameter=a>",
     "</parameter>", "</function>", "<arg_key>a</arg_key>", "<arg_value>", "</arg_value>", "<|",
     "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<|tool_call_end|>", "[TOOL_CALLS]", "[ARGS]", "{}"]
)  # fmt: skip
answers = st.lists(blocks | shards, max_size=8).map("".join)
places = st.lists(st.integers(0, 3000), max_size=30)


@settings(max_examples=400, deadline=None)
@given(answers, places, st.booleans())
@example('<tool_call>{"name": "clock", "arguments": {}}</tool_call>', [1, 2, 3], True)
def test_any_cuts_give_the_same_text_and_calls(
    answer: str, where: list[int], together: bool
) -> None:
    whole = parsed([answer])
    assert parsed(cut(answer, where), together=together) == whole
    assert parsed(list(answer)) == whole


@settings(max_examples=300, deadline=None)
@given(st.lists(shards, max_size=30).map("".join), places)
def test_without_a_call_nothing_is_changed(answer: str, where: list[int]) -> None:
    result = parsed(cut(answer, where))
    if not calls(result) and "_results>" not in answer:
        assert text_of(result) == answer


def test_text_before_a_call_goes_out_at_once_and_only_a_beginning_is_held_back() -> None:
    parser = ToolParser(TOOLS)
    assert parser.feed([("content", "Let me see. ")]) == [("content", "Let me see. ")]
    assert parser.feed([("content", "a < b <to")]) == [("content", "a < b ")]
    assert parser.feed([("content", "ast")]) == [("content", "<toast")]
    assert parser.feed([("content", '\n{"name": "cl')]) == [("content", "\n")]
    assert parser.feed([("content", "ara")]) == []
    assert parser.feed([("content", '"')]) == [("content", '{"name": "clara"')]
    assert parser.flush() == []


def test_arguments_come_in_pieces_of_bounded_size() -> None:
    text = written([MadeCall("write_file", {"path": "a", "content": "x" * 1000})], "tool_call")
    parser = ToolParser(TOOLS)
    pieces = parser.feed([("content", text)]) + parser.flush()
    assert pieces[0] == ("call", "write_file")
    assert {kind for kind, _ in pieces[1:]} == {"arguments"}
    assert len(pieces) > 5
    assert all(len(argument) <= PIECE for _, argument in pieces[1:])


def test_the_same_call_twice_is_one_and_another_is_another() -> None:
    text = written([PLAIN, PLAIN, MadeCall("get_weather", {"city": "Rome"}), PLAIN], "tool_call")
    assert [members["city"] for _, members in parsed([text])] == ["Paris", "Rome"]
    swapped = MadeCall("get_weather", dict(reversed(PLAIN.arguments.items())))
    assert len(parsed([written([PLAIN, swapped], "tool_call")])) == 1


def test_without_parallel_calls_the_first_is_the_only_one() -> None:
    text = written([PLAIN, MadeCall("clock", {})], "attributes") + "\nBye."
    assert parsed([text], parallel=False) == [
        ("get_weather", PLAIN.arguments),
        ("content", "\nBye."),
    ]


def test_text_and_calls_keep_their_order() -> None:
    text = f"One. {written([PLAIN], 'lone')} Two. {written([MadeCall('clock', {})], 'tool_call')}"
    assert [name for name, _ in parsed([text + "Three."])] == [
        "content",
        "get_weather",
        "content",
        "clock",
        "content",
    ]


@pytest.mark.parametrize("between", ["", " ", "  \t", "\n  ", "\n"])
def test_json_may_follow_a_call_after_white_space(between: str) -> None:
    text = f"{written([PLAIN], 'tool_call')}{between}{written([FILE], 'json')}"
    expected = [("get_weather", PLAIN.arguments), ("write_file", FILE.arguments)]
    assert parsed([text]) == parsed(list(text)) == expected


def test_the_list_of_tools_repeated_from_the_prompt_is_no_call() -> None:
    lines = [json.dumps({"name": tool.name, "parameters": tool.parameters}) for tool in TOOLS]
    text = "\n".join(["<tools>", *lines, "</tools>"])
    assert parsed([text]) == [("content", text)]


@pytest.mark.parametrize("name", ["tool", "run", "a-b.c", "Get_Weather"])
def test_a_tool_may_have_any_name(name: str) -> None:
    tool = Tool(name, "", {"type": "object", "properties": {"a": {"type": "integer"}}})
    for notation in NOTATIONS:
        parser = ToolParser([tool])
        text = written([MadeCall(name, {"a": 1})], notation)
        out = parser.feed([("content", text)]) + parser.flush()
        assert said(out) == [(name, {"a": 1})], notation


def test_a_tag_named_tool_says_which() -> None:
    for text in ('<tool name="clock"/>', "<tool><name>clock</name></tool>"):
        assert parsed([text]) == [("clock", {})]


@pytest.mark.parametrize(
    "before", ["", "  ", "\n\n   ", "Look: ", "a < b `code` ", "Text.\n", "```\nx\n```\n"]
)
def test_a_lone_tag_is_a_call_at_the_margin_and_in_a_sentence(before: str) -> None:
    text = before if before.strip() else ""
    expected: Said = [("content", text)] if text else []
    assert parsed([before + "<clock/>"]) == [*expected, ("clock", {})]


@pytest.mark.parametrize(
    "arguments", ['{"a":' * 200 + "1" + "}" * 200, "{&quot;a&quot;:" * 200 + "1" + "}" * 200]
)
def test_arguments_nested_beyond_measure_are_text(arguments: str) -> None:
    for text in (
        f"<invoke name='clock'><arguments>{arguments}</arguments></invoke>",
        f"<function_calls><clock arguments='{arguments}' /></function_calls>",
        f'{{"name": "clock", "arguments": {json.dumps(arguments)}}}',
    ):
        assert parsed([text]) == [("content", text)]


def test_reasoning_is_never_a_call_and_passes_what_is_held_back() -> None:
    parser = ToolParser(TOOLS)
    thought: Piece = ("reasoning", written([PLAIN], "tool_call"))
    assert parser.feed([("content", "a <tool_"), thought]) == [("content", "a "), thought]
    assert parser.flush() == [("content", "<tool_")]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_result>made up",
        "[function_results]\nx",
        '<tool_result id="call_1" name="clock">\n5\n</tool_result>',
        "<function_results><function_results>x</function_results></function_results>",
    ],
)
def test_results_made_up_after_a_call_are_not_shown(text: str) -> None:
    assert parsed([written([PLAIN], "tool_call") + "\n" + text]) == [
        ("get_weather", PLAIN.arguments)
    ]


def test_a_block_beyond_the_limit_is_text() -> None:
    big = written([MadeCall("write_file", {"path": "a", "content": "x" * MAX_HELD})], "tool_call")
    text = f"{big}\n{written([PLAIN], 'tool_call')}"
    pieces = [text[start : start + 5000] for start in range(0, len(text), 5000)]
    for result in (parsed([text]), parsed(pieces)):
        assert text_of(result) == big + "\n"
        assert calls(result) == [("get_weather", PLAIN.arguments)]


@pytest.mark.parametrize(
    "shard",
    [
        "<tool_call>",
        "<get_weather>",
        '<get_weather city="',
        "<function_calls>\n",
        '\n{"name": "clock", "arguments": {',
        '\n[{"name": "clock", "arguments": [[',
        "<get_weather><city>{</city>",
        '<tool_call>{"id": "',
        "\n```\n<tool_call>",
        "[tool_calls]\n- name: clock\n",
        "<tool_result>",
        "<",
        "[",
        "\n{",
        "\n[\n",
        '\n{"name": "',
        '\n{"name":"x"}',
        "<a",
        "<tool_cal",
        "<write_file>",
        '<clock a="/"/',
        '<clock a="""',
        "<clock a=b/",
        "<clock a=“",
        "<tool_call><a></a>",
        "<tool_call><tool_call>",
        "<tool_result></tool_result",
        "[tool_result]",
        "<?xml ",
        "<!d",
        "<html",
        "<|end",
        "“",
        "&amp;",
        "\n```\n",
        "\n````",
        "  `x",
        "<clock/>",
        '\n{"name":"clock","arguments":{}}',
        '<tool_call>{"name":"clock","arguments":{"a":[[],[]]}}</tool_call>',
        '<tool_call>{"name":"clock","arguments":{"a":[',
        '<tool_call>{"name":"clock","arguments":"{\\"a\\":',
        "<｜tool▁calls▁begin｜>",
        "\n<|tool_call_begin|>clock<|tool_sep|>{",
        "<|tool_call_begin|>clock<|tool_sep|>{}<|tool_call_end|>",
        "\n<tool_call>\n<function=clock>",
        "\n<function=clock>\n<parameter=a>\n</parameter>",
        "\n<function=clock></function>",
        "\n<function=clock>\n<parameter=a></parameter> <",
        "\n<tool_call>clock<arg_key>a</arg_key><arg_value>",
        '\n[TOOL_CALLS]clock[ARGS]{"a":[',
        '\n<|python_tag|>{"name":"clock"};',
        ".<|tool_call",
        '\n<｜DSML｜invoke name="clock">',
        "\n<think>",
        "</think",
        "\n<think></think>",
        "\n~~~\n",
        "\n~~~~",
    ],
)
def test_an_answer_full_of_beginnings_costs_little(shard: str) -> None:
    """Ten times the text is about ten times the work; and more than is ever held."""
    work = [calls_of(partial(parsed, in_pieces(shard, size))) for size in (5_000, 50_000)]
    assert work[1] < 15 * work[0] + 1000
    # A read of 64 KB: at most about 50 ms, whatever it is.
    assert calls_of(partial(parsed, [shard * (65_536 // len(shard))])) < 400_000
    pieces = in_pieces(shard, 300_000)
    if not calls(result := parsed(pieces)):
        assert text_of(result) == "".join(pieces)


def test_a_call_is_found_after_any_amount_of_beginnings() -> None:
    """Credit that was used up comes back with the text that follows."""
    bomb = "<tool_call><tool_call>" * 3_000
    prose = "Nothing to see here. " * 1_000
    call = written([PLAIN], "tool_call")
    assert calls(parsed([bomb + call])) == []
    text = bomb + prose + call
    for pieces in ([text], in_pieces(text, len(text)), [bomb, prose, call]):
        assert calls(parsed(pieces)) == [("get_weather", PLAIN.arguments)]


@pytest.mark.parametrize("seed", range(8))
def test_cuts_change_nothing_when_the_credit_is_used_up(seed: int) -> None:
    chance = random.Random(seed)
    shards = ["<tool_call>", '\n{"name": "clock", "arguments": {', "\n```\n", "<", "  `x", "prose "]
    shards += [written([PLAIN], "tool_call"), written([FILE], "tag"), "<tool_c", "\n[{"]
    shards += ["`<function_c", "[ARGS]", "<tool_sep><clock />\n", " [{", "<|tool_call_end|>", "\n"]
    shards += [written([FILE, PLAIN], "glm"), written([OTHER], "kimi_k2"), "[/tool_calls]<clock"]
    text = "".join(chance.choice(shards) * chance.choice((1, 2, 30, 400)) for _ in range(12))
    whole = parsed([text])
    for longest in (2, 15, 1000):
        pieces, at = [], 0
        while at < len(text):
            size = chance.randint(1, longest)
            pieces.append(text[at : at + size])
            at += size
        assert parsed(pieces) == whole


def test_many_calls_are_all_found() -> None:
    made = [MadeCall("write_file", {"path": f"{n}", "content": "x < y"}) for n in range(128)]
    for notation in NOTATIONS:
        assert len(calls(parsed([written(made, notation)]))) == 128


@pytest.mark.parametrize("count", [10, 1_000])
def test_a_page_of_code_with_calls_of_tools_in_it_costs_no_credit(count: int) -> None:
    page = "<div class='a'>\n  <b>x</b> if (a < b) { c[0] = {\"d\": 1}; }\n</div>\n" * count
    call = written([PLAIN], "tool_call")
    assert calls(parsed([page + call])) == [("get_weather", PLAIN.arguments)]


def in_pieces(shard: str, size: int) -> list[str]:
    text = shard * (size // len(shard))
    return [text[start : start + 4000] for start in range(0, len(text), 4000)]
