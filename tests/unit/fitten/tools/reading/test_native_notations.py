"""Calls in the notations in which models were trained: found, or left as the text they are."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.scenarios.native_notations import (
    NATIVE_NOTATIONS,
    RAW_NOTATIONS,
    NativeNotation,
    written_native,
)
from emulator.scenarios.tool_use import MadeCall
from gateway.fitten.tools.reading.native_notations import NATIVE_NOTATIONS as ROWS
from gateway.fitten.tools.reading.parser import ToolParser
from gateway.fitten.tools.reading.text_reader import MAX_HELD
from gateway.generation.request import Tool
from tests.counting import calls_of
from tests.unit.fitten.tools.reading.test_parser import (
    FILE,
    PLAIN,
    RICH,
    Said,
    calls,
    in_pieces,
    parsed,
    said,
    text_of,
)

CLOCK = MadeCall("clock", {})
OTHER = MadeCall("not_offered", {"a": "b"})
LS = Tool("ls", "", {"type": "object", "properties": {"path": {"type": "string"}}})

# Answers as the chat templates of the models and the parsers of vLLM and SGLang have them.
ANSWERS = {
    "DeepSeek V3": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>ls\n```json\n"
        '{"path": "src"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
    ),
    "DeepSeek V3.1": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ls<｜tool▁sep｜>"
        '{"path": "src"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
    ),
    "DeepSeek V3.2": (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="ls">\n'
        '<｜DSML｜parameter name="path" string="true">src</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    ),
    "Kimi K2": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.ls:0"
        '<|tool_call_argument_begin|>{"path": "src"}<|tool_call_end|><|tool_calls_section_end|>'
    ),
    "Kimi K2, singular": (
        "<|tool_call_section_begin|><|tool_call_begin|>functions.ls:0"
        '<|tool_call_argument_begin|>{"path": "src"}<|tool_call_end|><|tool_call_section_end|>'
    ),
    "Qwen3-Coder": (
        "<tool_call>\n<function=ls>\n<parameter=path>\nsrc\n</parameter>\n</function>\n</tool_call>"
    ),
    "GLM-4.5": ("<tool_call>ls\n<arg_key>path</arg_key>\n<arg_value>src</arg_value>\n</tool_call>"),
    "GLM-4.7": "<tool_call>ls<arg_key>path</arg_key><arg_value>src</arg_value></tool_call>",
    "Llama 3.1": '<function=ls>{"path": "src"}</function>',
    "Llama 3.2": '<|python_tag|>{"name": "ls", "parameters": {"path": "src"}}',
    "Mistral": '[TOOL_CALLS] [{"name": "ls", "arguments": {"path": "src"}}]',
    "Mistral, new": '[TOOL_CALLS]ls[ARGS]{"path": "src"}',
    "Mistral, with an id": '[TOOL_CALLS]ls[CALL_ID]a1B2c3D4e[ARGS]{"path": "src"}',
    "Mistral, short": '[TOOL_CALLS]ls{"path": "src"}',
    "Command R": (
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "ls", '
        '"parameters": {"path": "src"}}\n]<|END_ACTION|>'
    ),
    "Granite": '<|tool_call|>[{"name": "ls", "arguments": {"path": "src"}}]',
    "gpt-oss": (
        '<|channel|>commentary to=functions.ls <|constrain|>json<|message|>{"path": "src"}<|call|>'
    ),
    "gpt-oss, whole message": (
        "<|start|>assistant<|channel|>commentary to=functions.ls <|constrain|>json"
        '<|message|>{"path": "src"}<|call|>'
    ),
    "gpt-oss, receiver first": (
        "<|start|>assistant to=functions.ls<|channel|>commentary json"
        '<|message|>{"path": "src"}<|call|>'
    ),
    "InternLM": (
        '<|action_start|> <|plugin|>\n{"name": "ls", "parameters": {"path": "src"}}<|action_end|>'
    ),
    "MiniMax M2": (
        '<minimax:tool_call>\n<invoke name="ls">\n<parameter name="path">src</parameter>\n'
        "</invoke>\n</minimax:tool_call>"
    ),
    "Nemotron": '<TOOLCALL>[{"name": "ls", "arguments": {"path": "src"}}]</TOOLCALL>',
}

# What models leave out or write with other signs.
DRIFT = {
    "other bars": ANSWERS["DeepSeek V3.1"].replace("｜", "|").replace("▁", "_"),
    "no begin of the section": ANSWERS["DeepSeek V3.1"].removeprefix("<｜tool▁calls▁begin｜>"),
    "no end of the section": ANSWERS["DeepSeek V3.1"].removesuffix("<｜tool▁calls▁end｜>"),
    "no end at all": ANSWERS["DeepSeek V3.1"].partition("<｜tool▁call▁end｜>")[0],
    "no end of the fence": ANSWERS["DeepSeek V3"].partition("\n```<")[0],
    "no begin of the block": ANSWERS["Qwen3-Coder"].removeprefix("<tool_call>\n"),
    "no end of the block": ANSWERS["Qwen3-Coder"].removesuffix("\n</tool_call>"),
    "no end of the function": ANSWERS["Qwen3-Coder"].replace("</function>\n", ""),
    "only the invoke": ANSWERS["DeepSeek V3.2"].split("\n", 1)[1].rpartition("\n")[0],
    "the section only ends": ANSWERS["Kimi K2"].removeprefix("<|tool_calls_section_begin|>"),
    "a token of the next turn": ANSWERS["Kimi K2"] + "<|im_end|>",
    "upper case": ANSWERS["DeepSeek V3.1"].upper().replace("LS", "ls").replace(
        '{"PATH": "SRC"}', '{"path": "src"}'
    ).replace("CALlsBEGIN", "CALLS▁BEGIN").replace("CALls", "CALLS"),
}  # fmt: skip


def read(text: str, *tools: Tool) -> Said:
    parser = ToolParser(tools)
    whole = said(parser.feed([("content", text)]) + parser.flush())
    parser = ToolParser(tools)
    single = [piece for character in text for piece in parser.feed([("content", character)])]
    assert said(single + parser.flush()) == whole
    return whole


@pytest.mark.parametrize("model", ANSWERS)
def test_a_call_is_found_as_the_model_writes_it(model: str) -> None:
    assert read(ANSWERS[model], LS) == [("ls", {"path": "src"})]
    assert read(f"I look.\n\n  {ANSWERS[model]}\n", LS) == [
        ("content", "I look.\n\n  "),
        ("ls", {"path": "src"}),
    ]


@pytest.mark.parametrize("drift", DRIFT)
def test_words_of_the_notation_may_be_missing_or_have_other_signs(drift: str) -> None:
    assert calls(read(DRIFT[drift], LS)) == [("ls", {"path": "src"})]


@pytest.mark.parametrize("notation", NATIVE_NOTATIONS)
@pytest.mark.parametrize("end", [*".!?:…", *"。！？："])
def test_a_block_may_follow_the_end_of_a_sentence_at_once(
    notation: NativeNotation, end: str
) -> None:
    text = written_native([PLAIN, CLOCK], notation)
    assert read_all(f"I look{end}{text}") == [
        ("content", f"I look{end}"),
        ("get_weather", PLAIN.arguments),
        ("clock", {}),
    ]


def read_all(text: str) -> Said:
    whole = parsed([text])
    assert parsed(list(text)) == whole
    return whole


FENCES = ["```\n{}\n```", "```xml\n{}\n```\n", "~~~\n{}\n~~~", "  ````json\n{}\n  ````"]
INLINE = ["`{}`", "Write `{}` to call it.", "Write it:`{}`"]
PROSE = ["A call is {} here", 'It says "{}" then', "{} is how", "Text:{} here", "> {}"]


@pytest.mark.parametrize("around", [*FENCES, *INLINE, *PROSE])
@pytest.mark.parametrize("notation", NATIVE_NOTATIONS)
def test_the_same_text_in_code_or_in_a_sentence_stays_text(
    notation: NativeNotation, around: str
) -> None:
    if notation == "mistral" and around in ("```\n{}\n```", "~~~\n{}\n~~~", FENCES[-1], "> {}"):
        around = "```js\n{}\n```"  # it is an old notation too: alone in a fence it is a call
    if notation == "minimax_m2" and around in PROSE:
        around = "```\nHere: {}\n```"  # an `invoke` alone is an old notation
    for made in ([PLAIN], [PLAIN, CLOCK]):
        text = written_native(made, notation)
        if around not in FENCES:
            text = text.replace("\n", " ")  # such text has one line
        answer = around.format(text)
        assert read_all(answer) == [("content", answer)]


@pytest.mark.parametrize("notation", NATIVE_NOTATIONS)
def test_every_cut_of_the_stream_gives_the_same(notation: NativeNotation) -> None:
    text = f"I look.\n{written_native([PLAIN, RICH, FILE], notation)}\nDone."
    whole = parsed([text])
    assert [name for name, _ in whole] == [
        "content",
        "get_weather",
        "get_weather",
        "write_file",
        "content",
    ]
    assert text_of(whole) == "I look.\n\nDone."
    assert parsed(list(text)) == whole
    for at in range(1, len(text)):
        assert parsed([text[:at], text[at:]]) == whole


@pytest.mark.parametrize("notation", NATIVE_NOTATIONS)
def test_a_call_of_a_tool_that_was_not_offered_is_text(notation: NativeNotation) -> None:
    text = written_native([OTHER], notation)
    assert read_all(text) == [("content", text)]


@pytest.mark.parametrize(
    "notation", ["deepseek_v3", "deepseek_v31", "kimi_k2", "command_r", "phi4_mini"]
)
def test_a_section_with_a_call_that_cannot_be_read_is_text(notation: NativeNotation) -> None:
    text = written_native([PLAIN, OTHER], notation)
    assert read_all(text) == [("content", text)]


@pytest.mark.parametrize("notation", ["qwen3_coder_bare", "glm", "longcat"])
def test_a_text_argument_is_whole_only_with_the_end_of_the_call(notation: NativeNotation) -> None:
    """What is missing at the end could be a part of the call."""
    text = written_native([PLAIN], notation).rpartition("\n")[0]
    assert read_all(text) == [("content", text)]


NASTY = {
    "HTML": '<div class="a">x &amp; y<br/></div>',
    "quotes": "\"double\" 'single' `tick` “curly” «guillemets»",
    "heredoc": "cat > a.sh <<'EOF'\necho \"$HOME\"\nEOF",
    "backslashes": r"a\b\\c\n\t\"",
    "Windows path": r"C:\bin\new\table\x.txt",
    "Chinese": "全角：“引号”，（括号）；｜竖线▁",
    "emoji": "🎉👩‍👩‍👧 é́ \u200b\ufeff",
    "our tags": '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>',
    "our results": '<tool_result id="1">\nx\n</tool_result><|end|>\n<|user|>\n',
    "a fence": '```json\n{"a": 1}\n```\n~~~\n',
    "JSON": '{"name": "clock", "arguments": {"a": [1, 2.50, null]}}',
    "thoughts": "<think>\nno\n</think>",
    "empty": "",
    "only line ends": "\n\n",
    "a line end at the end": "one\ntwo\n",
    "blanks at both ends": "  \tindented  ",
    "Windows line ends": "\r\none\r\ntwo\r\n",
    "entities": "&lt;b&gt; &quot; &#65;",
}
ENDS = "</parameter></function></tool_call></arg_value><|tool_call_end|><｜tool▁call▁end｜>[ARGS]"


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("notation", NATIVE_NOTATIONS)
def test_text_in_an_argument_stays_byte_for_byte(notation: NativeNotation, nasty: str) -> None:
    made = MadeCall("write_file", {"path": "a", "content": NASTY[nasty]})
    text = written_native([made], notation)
    assert read_all(text) == [("write_file", made.arguments)]
    last = MadeCall("write_file", {"content": NASTY[nasty], "path": "a"})
    assert read_all(written_native([last, CLOCK], notation)) == [
        ("write_file", last.arguments),
        ("clock", {}),
    ]


@pytest.mark.parametrize("notation", NATIVE_NOTATIONS)
def test_only_a_notation_of_json_can_have_its_own_ends_in_an_argument(
    notation: NativeNotation,
) -> None:
    made = MadeCall("write_file", {"path": "a", "content": ENDS})
    result = read_all(written_native([made], notation))
    if notation not in RAW_NOTATIONS:
        assert result == [("write_file", made.arguments)]
    else:
        assert all(name in ("content", "write_file") for name, _ in result)


@pytest.mark.parametrize(
    "closer", ["</parameter>", "a</parameter>b", "<parameter>x</parameter>\ny"]
)
def test_an_end_behind_which_no_part_of_the_call_follows_is_text(closer: str) -> None:
    for notation in ("qwen3_coder", "minimax_m2", "seed_oss"):
        made = MadeCall("write_file", {"content": f"{closer} and more", "path": "a"})
        assert read_all(written_native([made], notation)) == [("write_file", made.arguments)]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(NATIVE_NOTATIONS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_any_text_in_an_argument_survives_any_cut(
    notation: NativeNotation, content: str, places: list[int]
) -> None:
    made = MadeCall("write_file", {"content": content, "path": "a"})
    text = written_native([made], notation)
    bounds = [0, *sorted(place % len(text) for place in places), len(text)]
    pieces = [text[a:b] for a, b in pairwise(bounds)]
    assert parsed([piece for piece in pieces if piece]) == [("write_file", made.arguments)]


def test_arguments_in_text_have_the_types_of_the_schema() -> None:
    for notation in RAW_NOTATIONS:
        assert read_all(written_native([RICH], notation)) == [("get_weather", RICH.arguments)]


def test_a_text_that_is_marked_as_json_and_is_none_stays_text() -> None:
    text = (
        '<｜DSML｜invoke name="ls"><｜DSML｜parameter name="path" string="false">a b'
        "</｜DSML｜parameter></｜DSML｜invoke>"
    )
    assert read(text, LS) == [("ls", {"path": "a b"})]


def test_every_row_of_the_table_has_a_test() -> None:
    texts = [written_native([PLAIN], notation) for notation in NATIVE_NOTATIONS]
    texts += ANSWERS.values()
    folded = [text.lower().replace("｜", "|").replace("▁", "_") for text in texts]
    for row in ROWS:
        words = (*row.opens, *row.closes, *row.separators)
        assert any(all(word in text for word in words) for text in folded), row


def test_the_documentation_names_the_models_of_every_row() -> None:
    text = (Path(__file__).parents[5] / "docs" / "tools.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    named = {name.strip() for row in rows for name in row.split(",")}
    assert {name for row in ROWS for name in row.models.split(", ")} <= named


@pytest.mark.parametrize(
    ("opened", "value"),
    [
        ("<function=write_file>\n<parameter=content>\n", "x\n"),
        ("<tool_call>write_file<arg_key>content</arg_key><arg_value>", "<arg"),
        ('<｜DSML｜invoke name="write_file">{"content": "', "\\n<"),
        ("<|tool_call_begin|>write_file<|tool_sep|>{", '"a":1,'),
        ("[TOOL_CALLS]write_file[ARGS]{", '"a":[],'),
        ('<|python_tag|>{"name":"write_file","parameters":{"content":"', "</think>"),
        ("<minimax:tool_call>", "\n"),
        ("<function=write_file>\n<parameter=content>\n", "</parameter>x"),
        ("<think>\n", "</thin"),
    ],
)
def test_a_megabyte_without_an_end_is_text_and_little_of_it_is_held(
    opened: str, value: str
) -> None:
    parser = ToolParser([Tool("write_file")])
    pieces = in_pieces(value, 1_000_000)
    came, fed = [], 0
    for piece in [opened, *pieces]:
        came += parser.feed([("content", piece)])
        fed += len(piece)
        assert fed - sum(len(text) for _, text in came) <= MAX_HELD + 4_000
    assert text_of(said(came + parser.flush())) == opened + "".join(pieces)
    work = [
        calls_of(partial(parsed, [opened, *in_pieces(value, size)])) for size in (20_000, 200_000)
    ]
    assert work[1] < 15 * work[0] + 1000


@pytest.mark.parametrize("before", range(MAX_HELD - 40, MAX_HELD + 3, 7))
def test_cuts_change_nothing_where_as_much_is_held_as_may_be(before: int) -> None:
    head = "<function=clock>\n<parameter=a>\n"
    body = "x" * (before - len(head) - len("\n</parameter>\n</function>"))
    text = f"{head}{body}\n</parameter>\n</function><function=clock></function>\nDone."
    whole = parsed([text])
    assert parsed([text[:before], text[before:]]) == whole
    assert parsed([text[: before - 1], *text[before - 1 :]]) == whole
    assert "Done." in text_of(whole)
