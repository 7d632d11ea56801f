"""Calls in the hybrid notation: passed on as they come, whatever the cuts and the drift."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.fitten.tools.reading.parser import ToolParser
from gateway.fitten.tools.reading.text_reader import MAX_HELD
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool
from tests.counting import calls_of
from tests.unit.fitten.tools.reading.test_parser import CLOCK, WEATHER, WRITE, Said, said

V = "K7QM"
LS = Tool("ls", "", {"type": "object", "properties": {"path": {"type": "string"}}})
RUN = Tool(
    "Run",
    "",
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "arguments": {"type": "object"},
            "command": {"type": "string"},
            "timeout": {"type": "integer"},
            "lines": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["command"],
    },
)
TOOLS = (WEATHER, CLOCK, WRITE, LS, RUN)

END = f"\n</arg-{V}>"
DONE = f"\n</call-{V}>"
CONTENT = 'if (a < b && c) {\n\tputs("hi\\n");\n}\n'
WRITTEN = {"path": "a.c", "content": CONTENT}
FILE = f'<call-{V} write_file>\n{{"path": "a.c"}}\n<arg content>\n{CONTENT}{END}{DONE}'
CITY = f'<call-{V} get_weather>\n{{"city": "Rio", "days": 3}}{DONE}'
OTHER = f'<call-{V} not_offered>\n{{"a": "b"}}{DONE}'


def made(texts: Sequence[str], **options: Any) -> tuple[ToolParser, list[Piece]]:
    parser = ToolParser(TOOLS, value=V, **options)
    out = [piece for text in texts for piece in parser.feed([("content", text)])]
    return parser, out


def read_pieces(texts: Sequence[str], **options: Any) -> Said:
    parser, out = made(texts, **options)
    out += parser.flush()
    assert not is_cut(parser, parallel=options.get("parallel", True))
    return said(out)


def is_cut(parser: ToolParser, *, parallel: bool = True) -> bool:
    """Whether a call that was passed on is not whole."""
    return parser.cut_call is not None and (parallel or parser.cut_call == 1)


def read(text: str, **options: Any) -> Said:
    whole = read_pieces([text], **options)
    assert read_pieces(list(text), **options) == whole
    return whole


def one_call(text: str) -> tuple[str, Any]:
    (call,) = read(text)
    return call


def in_pieces(shard: str, size: int) -> list[str]:
    text = shard * (size // len(shard))
    return [text[start : start + 4000] for start in range(0, len(text), 4000)]


# The four kinds of tests that every notation has.


def test_calls_are_found_between_texts() -> None:
    assert read(f"I look.\n\n{CITY}\n{FILE}\nDone.") == [
        ("content", "I look.\n\n"),
        ("get_weather", {"city": "Rio", "days": 3}),
        ("write_file", WRITTEN),
        ("content", "\nDone."),
    ]


@pytest.mark.parametrize("end", [*".!?…。！？"])
def test_a_call_may_follow_a_sentence_in_the_same_line(end: str) -> None:
    assert read(f"I look{end} {CITY}") == [
        ("content", f"I look{end} "),
        ("get_weather", {"city": "Rio", "days": 3}),
    ]


@pytest.mark.parametrize(
    "around",
    ["```\n{}\n```", "```xml\n{}\n```\n", "~~~\n{}\n~~~", "  ````json\n{}\n  ````", "`{}`",
     "Write `{}` to call it.", "Write it:`{}`", "A call is {} here", 'It says "{}" then',
     "Text:{} here", "> {}", "<think>\n{}\n</think>"],
)  # fmt: skip
@pytest.mark.parametrize("call", [CITY, FILE])
def test_the_same_text_in_code_or_in_a_sentence_stays_text(around: str, call: str) -> None:
    if "\n" not in around:
        call = call.replace("\n", " ")  # such text has one line
    answer = around.format(call)
    assert read(answer) == [("content", answer)]


def test_every_cut_of_the_stream_gives_the_same() -> None:
    text = f"I look.\n{CITY}\n{FILE}\nDone."
    whole = read(text)
    for at in range(1, len(text)):
        assert read_pieces([text[:at], text[at:]]) == whole


def test_a_call_of_a_tool_that_was_not_offered_is_text() -> None:
    assert read(OTHER) == [("content", OTHER)]
    assert read(f"{OTHER}\n{CITY}", repairable=True) == [
        ("content", f"{OTHER}\n"),
        ("get_weather", {"city": "Rio", "days": 3}),
    ]


@pytest.mark.parametrize("value", ["K7Q", "K7QMX", "K7QN", "k7qm", ""])
def test_a_block_with_another_value_is_text(value: str) -> None:
    text = FILE.replace(f"-{V}", f"-{value}" if value else "")
    assert read(text) == [("content", text)]


parts = st.sampled_from(
    [CITY, FILE, OTHER, "\n", " ", "text", ".", "<", ">", "</", "{", "}", "{}", "`", "```\n",
     f"<call-{V}", f"<call-{V} clock>", f"<call-{V} write_file>\n", "<arg content>", "<arg a>",
     "<arg", f"</arg-{V}", f"</arg-{V}>", f"</call-{V}>", "</arg>", "</call>", "</arg-ABCD>",
     "\n</arg>", "\n</call>", f"<result-{V} ls", f"\n<result-{V} ls ok>\n", '{"path": "a"}',
     '{"path": ', '"', "\r", "é好", "<think>", "</think>", "<clock/>", "<tool_call>"]
)  # fmt: skip
answers = st.lists(parts, max_size=12).map("".join)
places = st.lists(st.integers(0, 1000), max_size=20)


@settings(max_examples=600, deadline=None)
@given(answers, places, st.booleans(), st.booleans())
@example(f"<call-{V} clock>", [], True, True)
@example(f"<call-{V} write_file>\n{{}}\n<arg content>\na\n</arg>\n</call>", [40], True, True)
def test_any_cuts_give_the_same_and_a_call_that_is_not_whole_is_cut(
    answer: str, where: list[int], parallel: bool, whole: bool
) -> None:
    bounds = sorted({0, len(answer), *(place % (len(answer) + 1) for place in where)})
    results = []
    for texts in ([answer], list(answer), [answer[a:b] for a, b in pairwise(bounds)]):
        parser, out = made(texts, parallel=parallel)
        fault = parser.fault
        out += parser.flush(whole=whole)
        joined: list[tuple[str, str]] = []
        for kind, text in out:
            if joined and kind in ("arguments", "content") and kind == joined[-1][0]:
                joined[-1] = (kind, joined[-1][1] + text)
            else:
                joined.append((kind, text))
        results.append((joined, is_cut(parser, parallel=parallel), parser.answered, fault))
        if not is_cut(parser, parallel=parallel):
            said(out)  # the arguments are JSON
    assert results[0] == results[1] == results[2]


# What models leave out or write in another way.

LENIENT = {
    "as it should be": f'{{"path": "a.c"}}\n<arg content>\nx\ny{END}{DONE}',
    "no line of JSON": f"<arg path>\na.c{END}\n<arg content>\nx\ny{END}{DONE}",
    "blank lines": f"\n\n<arg path>\na.c{END}\n\n<arg content>\nx\ny{END}{DONE}",
    "the line of JSON comes last": f'<arg content>\nx\ny{END}\n{{"path": "a.c"}}{DONE}',
    "bare ends": '{"path": "a.c"}\n<arg content>\nx\ny\n</arg>\n</call>',
    "bare ends of texts": (
        f"{{}}\n<arg path>\na.c\n</arg>\n<arg content>\nx\ny\n</arg>{DONE}"
    ),
    "a bare end of the call": f'{{"path": "a.c"}}\n<arg content>\nx\ny{END}\n</call>',
    "ends with another value": '{"path": "a.c"}\n<arg content>\nx\ny\n</arg-ABCD>\n</call-ABCD>',
    "no end of the call": f'{{"path": "a.c"}}\n<arg content>\nx\ny{END}',
    "no end of the call, only a bare end": '{"path": "a.c"}\n<arg content>\nx\ny\n</arg>',
    "no end of the text": f'{{"path": "a.c"}}\n<arg content>\nx\ny{DONE}',
    "the end in the line of the text": f'{{"path": "a.c"}}\n<arg content>\nx\ny</arg-{V}>{DONE}',
    "texts in the lines of their names": (
        f"<arg path>a.c</arg-{V}>\n<arg content>x\ny</arg-{V}>{DONE}"
    ),
    "bare ends in the same line": "<arg path>a.c</arg>\n<arg content>x\ny</arg></call>",
    "the value in the opening": f'{{"path": "a.c"}}\n<arg-{V} content>\nx\ny{END}{DONE}',
    "the name as an attribute": f'{{"path": "a.c"}}\n<arg name="content">\nx\ny{END}{DONE}',
    "both": f"{{}}\n<arg-{V} name='path'>\na.c{END}\n<arg-{V} name=content>\nx\ny{END}{DONE}",
    "JSON over several lines": f'{{\n  "path": "a.c"\n}}\n<arg content>\nx\ny{END}{DONE}',
    "all in JSON": f'{{"path": "a.c", "content": "x\\ny"}}{DONE}',
    "JSON with a raw line end": f'{{"path": "a.c", "content": "x\ny"}}{DONE}',
    "the call in JSON": (
        f'{{"name": "write_file", "arguments": {{"path": "a.c", "content": "x\\ny"}}}}{DONE}'
    ),
    "the call in JSON, encoded twice": (
        '{"name": "write_file", "arguments": '
        rf'"{{\"path\": \"a.c\", \"content\": \"x\\ny\"}}"}}{DONE}'
    ),
    "upper case": f'{{"PATH": "a.c"}}\n<ARG Content>\nx\ny{END}{DONE}',
    "an argument twice": (
        f'{{"path": "a.c"}}\n<arg path>\nb.c{END}\n<arg content>\nx\ny{END}{DONE}'
    ),
    "line ends of Windows": (
        f'{{"path": "a.c"}}\r\n<arg content>\r\nx\ny{END}\r\n</call-{V}>'
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", LENIENT)
def test_other_forms_are_read(form: str) -> None:
    wanted = {"path": "a.c", "content": "x\ny"}
    for head in (f"<call-{V} write_file>", f"<call-{V} Write_File call_1>"):
        assert one_call(f"{head}\n{LENIENT[form]}") == ("write_file", wanted)
        assert read(f"{head}\n{LENIENT[form]}\n{CITY}") == [
            ("write_file", wanted),
            ("get_weather", {"city": "Rio", "days": 3}),
        ]


@pytest.mark.parametrize(
    "text", ["<call-K7QM ls>", "<call-K7QM ls>\n", "<call-K7QM ls> {}", "<call-K7QM ls>\n{}\n",
             "<call-K7QM ls>\n</call-K7QM>", "<call-K7QM ls></call>", '<call-K7QM "ls">\n{}',
             "<call-K7QM functions.ls:0>\n{}"]
)  # fmt: skip
def test_a_call_without_arguments_may_end_at_any_place(text: str) -> None:
    parser, _ = made([text], repairable=True)
    assert parser.fault is None
    assert one_call(text) == ("ls", {})
    assert read(f"{text}\n{CITY}")[0] == ("ls", {})


def test_a_call_that_lacks_what_the_tool_requires_is_cut() -> None:
    for text in (f"<call-{V} write_file>", f'<call-{V} write_file>\n{{"path": "a"}}\n'):
        parser, _ = made([text], repairable=True)
        assert parser.fault == "cut"
        parser.flush()
        assert is_cut(parser)


@pytest.mark.parametrize("at", range(len(f"<call-{V} write_file>") + 1, len(FILE) - len(DONE)))
def test_an_answer_that_ends_within_a_call_is_cut(at: int) -> None:
    parser, out = made([FILE[:at]], repairable=True)
    assert parser.fault == "cut"
    out += parser.flush()
    assert is_cut(parser)
    arguments = "".join(text for kind, text in out if kind == "arguments")
    with pytest.raises(ValueError, match=r".*"):
        json.loads(arguments)


def test_after_a_call_that_cannot_be_read_the_answer_stays_cut() -> None:
    parser, out = made([f"<call-{V} write_file>\nnonsense{DONE}\n{CITY}"])
    out += parser.flush()
    assert is_cut(parser)
    assert [text for kind, text in out if kind == "call"] == ["write_file", "get_weather"]


def test_a_second_call_that_is_not_wanted_cuts_nothing() -> None:
    assert read(f"{CITY}\n{FILE}", parallel=False) == [("get_weather", {"city": "Rio", "days": 3})]
    assert read(f"{CITY}\n{FILE[:60]}", parallel=False) == [
        ("get_weather", {"city": "Rio", "days": 3})
    ]


@pytest.mark.parametrize("before", [CITY, f'<call-{V} get_weather>\n{{"city": "Rio", "days": 3}}'])
def test_a_result_that_the_model_made_up_ends_the_answer(before: str) -> None:
    text = (
        f"I look.\n{before}\n<result-{V} get_weather call_1 ok>\nsun\n</result-{V}>\nIt is sunny."
    )
    assert read(text) == [
        ("content", "I look.\n"),
        ("get_weather", {"city": "Rio", "days": 3}),
    ]
    parser, _ = made([text])
    assert parser.answered


def test_the_next_call_or_a_result_ends_a_text() -> None:
    head = f'<call-{V} write_file>\n{{"path": "a"}}\n<arg content>\nx\n'
    for rest in (f"{CITY}", f"<result-{V} write_file ok>\nok"):
        assert read(head + rest)[0] == ("write_file", {"path": "a", "content": "x"})
    assert [name for name, _ in read(head + CITY)] == ["write_file", "get_weather"]


@pytest.mark.parametrize(
    ("argument", "text", "value"),
    [
        ("timeout", "30", 30),
        ("timeout", " 30 ", 30),
        ("timeout", "soon", "soon"),
        ("lines", '["a",\n "b"]', ["a", "b"]),
        ("arguments", '{\n"a": 1}', {"a": 1}),
        ("unknown", '{"a": 1}', '{"a": 1}'),
        ("COMMAND", "30", "30"),
        ("command", '{"a": 1}', '{"a": 1}'),
    ],
)
def test_a_text_is_converted_where_the_schema_wants_no_text(
    argument: str, text: str, value: object
) -> None:
    _, arguments = one_call(f"<call-{V} Run>\n<arg {argument}>\n{text}{END}{DONE}")
    assert arguments == {argument.lower() if argument.isupper() else argument: value}


def test_an_object_with_the_tools_own_arguments_is_no_call_in_an_object() -> None:
    inner = {"name": "x", "arguments": {"command": "y"}}
    assert one_call(f"<call-{V} Run>\n{json.dumps(inner)}{DONE}") == ("Run", inner)


# Texts, byte for byte.

TEXTS = [
    "", "\n", "\n\n", "\r\n", " ", "  x  ", "\tx\n", "x\r", "\\", "\\n", '"', "'\"", "\0\x1b",
    "</arg>", "</call>\n", "a\n</arg>\n</call>\n", "</arg-ABCD>\n</call-ABCD>", "<arg content>",
    "<call-ABCD write_file>\n{}\n</call-ABCD>", "<arg path>\nx\n</arg>", "```\ncode\n```",
    "<tool_call>{}</tool_call>", "<｜tool▁calls▁begin｜>", "<|end|>\n<|user|>", "好🙂👩‍💻é\u2028",
    "</", "\n<", "\n</", "\n</arg", "\n</arg-", "<think>", "<result-ABCD ls ok>", "{}", "}\n}",
]  # fmt: skip
texts = st.lists(st.sampled_from(TEXTS) | st.text(max_size=8), max_size=6).map("".join)


@settings(max_examples=400, deadline=None)
@given(texts, st.integers(1, 9))
@example("</arg>\n</call>\n\n", 1)
def test_any_text_comes_out_byte_for_byte(text: str, size: int) -> None:
    answer = f'<call-{V} write_file>\n{{"path": "a"}}\n<arg content>\n{text}{END}{DONE}\n{CITY}'
    wanted = [
        ("write_file", {"path": "a", "content": text}),
        ("get_weather", {"city": "Rio", "days": 3}),
    ]
    assert read_pieces([answer[at : at + size] for at in range(0, len(answer), size)]) == wanted


def test_the_name_and_each_part_are_passed_on_at_once() -> None:
    parser, _ = made([])

    def fed(text: str) -> list[Piece]:
        return parser.feed([("content", text)])

    assert fed(f"I look.\n<call-{V} write_f") == [("content", "I look.\n")]
    assert fed("ile>") == []
    assert fed("\n") == [("call", "write_file")]
    assert fed('{"path": "a"') == []
    assert fed("}") == [("arguments", '{"path":"a"')]
    assert fed("\n<arg content>") == []
    assert fed("\n") == [("arguments", ',"content":"')]
    assert fed("one") == [("arguments", "one")]
    assert fed("\n") == []
    assert fed("<") == []
    assert fed("b") == [("arguments", "\\n<b")]
    assert fed(f"\n</arg-{V}") == []
    assert fed(">") == [("arguments", '"')]
    assert fed(DONE) == [("arguments", "}")]
    assert parser.flush() == []


@pytest.mark.parametrize(
    "text", [text for text in TEXTS if "</arg" not in text and "</c" not in text]
)
def test_no_more_than_the_end_of_a_block_is_held_back(text: str) -> None:
    parser, _ = made([f'<call-{V} write_file>\n{{"path": "a"}}\n<arg content>\n'])
    came, gone = "", ""
    for character in f"{text}x{text}y{text}":
        came += character
        for kind, piece in parser.feed([("content", character)]):
            assert kind == "arguments"
            gone += json.loads('"' + piece.removeprefix(',"content":"') + '"')
        assert came.startswith(gone)
        held = came[len(gone) :]
        assert (
            held in ("", "\n")
            or f"\n</arg-{V}>".startswith(held)
            or held[:1] == "<"
            or (held[:2] == "\n<")
        )
        assert len(held) <= len(f"\n</call-{V}>")


def test_a_text_of_a_megabyte_takes_no_memory() -> None:
    parser, _ = made([f'<call-{V} write_file>\n{{"path": "a"}}\n<arg content>\n'])
    line = 'if (a < b) { c[0] = "</div>"; }\n' * 32
    parser.feed([("content", line)])
    tracemalloc.start()
    try:
        gone = 0
        for _ in range(1_000_000 // len(line)):
            gone += sum(len(text) for _, text in parser.feed([("content", line)]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert gone > 1_000_000
    assert peak < 64_000


@pytest.mark.parametrize("stray", ["</arg>", "\n</arg>", "\n</call-ABCD>"])
def test_a_text_too_long_to_wait_for_its_end_streams_on(stray: str) -> None:
    """A stray end may be the only one; but no text is held back without limit."""
    text = f"a{stray}b" + "c" * (MAX_HELD + 10) + stray
    parser, out = made([f'<call-{V} write_file>\n{{"path": "a"}}\n<arg content>\n', text])
    assert sum(len(piece) for _, piece in out) > MAX_HELD
    out += parser.feed([("content", END + DONE)]) + parser.flush()
    assert said(out) == [("write_file", {"path": "a", "content": text})]


OPEN = f"<call-{V} write_file>\n<arg content>\n"


@pytest.mark.parametrize(
    "shard",
    [
        f"<call-{V} clock>",
        f"<call-{V} clock>\n",
        f"\n<call-{V} clock>\n{{",
        f"\n<call-{V} not_offered>\n",
        f"\n<call-{V}",
        f"\n<call-{V} ",
        f"\n<call-{V} clock>\n<arg a>",
        f"\n<call-{V} clock>\nx",
        "<arg a>",
        "<arg a>\n",
        "\n</",
        "\n</arg",
        "\n</arg>",
        "\n</call>",
        "</arg-ABCD>",
        f"\n<arg a>\nx{END}",
        f"\n<result-{V}",
        "\n",
        "<",
        "\n<",
        "{",
        '{"a": [[',
    ],
)
@pytest.mark.parametrize("before", ["", OPEN, f"<call-{V} clock>\n"], ids=["text", "raw", "call"])
def test_an_answer_full_of_beginnings_costs_little(before: str, shard: str) -> None:
    """Ten times the text is about ten times the work, also in time that no call shows."""

    def work(size: int) -> None:
        parser, out = made([before, *in_pieces(shard, size)])
        parser.flush()
        assert all(text for _, text in out)

    counted = [calls_of(partial(work, size)) for size in (5_000, 50_000)]
    assert counted[1] < 15 * counted[0] + 1000
    assert calls_of(partial(work, 65_536)) < 500_000
    assert calls_of(partial(work, 1_000_000)) < 8_000_000


def test_an_answer_in_single_characters_costs_a_bounded_number_of_calls() -> None:
    text = CONTENT * 300
    parser, _ = made([OPEN])

    def work() -> None:
        for character in text:
            parser.feed([("content", character)])

    assert calls_of(work) < 60 * len(text)
    assert sys.getsizeof(parser.flush()) < 1000
