"""The text of a custom tool's call, however a model writes the arguments around it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apis.openai.responses.text_input import TextInput

PATCH = '*** Begin Patch\n*** Update File: a.py\n-print("a")\n+print("\\u00e9")\n*** End Patch\n'


def read(arguments: str, sizes: int = 1) -> tuple[list[str], str | None]:
    """The parts that come before the end, and the whole text."""
    reader = TextInput()
    parts = [reader.feed(arguments[at : at + sizes]) for at in range(0, len(arguments), sizes)]
    assert reader.sent == len("".join(parts))
    return parts, reader.end()


def wrapped(text: str, **more: str) -> str:
    return json.dumps({"input": text, **more})


@given(st.text(), st.integers(1, 9), st.booleans())
def test_a_text_comes_as_it_is_written(text: str, sizes: int, ascii_only: bool) -> None:
    text = "x" + text
    parts, whole = read(json.dumps({"input": text}, ensure_ascii=ascii_only), sizes)
    assert whole == text
    assert "".join(parts) == text


def test_a_text_is_passed_on_while_it_comes() -> None:
    reader = TextInput()
    assert reader.feed('{"input":"') == ""
    assert reader.feed("*** Begin") == "*** Begin"
    assert reader.feed(" Patch\\") == " Patch"
    assert reader.feed("n\\u00") == "\n"
    assert reader.feed("e9\\ud83d") == "é"
    assert reader.feed('\\ude00"') == "\U0001f600"
    assert reader.feed("}") == ""
    assert reader.end() == "*** Begin Patch\né\U0001f600"


@pytest.mark.parametrize(
    "arguments",
    [
        json.dumps({"patch": PATCH}),
        json.dumps({"command": ["apply_patch", PATCH]}),
        json.dumps({"anything": PATCH}),
        json.dumps(PATCH),
        wrapped(json.dumps({"input": PATCH})),
        wrapped(json.dumps({"patch": PATCH})),
        wrapped(f"```\n{PATCH}```"),
        wrapped(f"\n```diff\n{PATCH}```\n"),
        wrapped(f"~~~~\n{PATCH}~~~~"),
        wrapped("```json\n" + json.dumps({"input": PATCH}) + "\n```"),
        wrapped(PATCH, timeout="5"),
    ],
)
@pytest.mark.parametrize("sizes", [1, 7, 10_000])
def test_what_is_wrapped_is_taken_out(arguments: str, sizes: int) -> None:
    parts, whole = read(arguments, sizes)
    assert whole == PATCH
    assert PATCH.startswith("".join(parts))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "{",
        '{"input": 1}',
        '{"input": "a", "b": 1}',
        "{a: b}",
        "```\nno end",
        "`a` and `b`",
        "```\nx\n```\nand more",
        "say ```\nx\n```",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    for sizes in (1, 3, 1000):
        assert read(wrapped(text), sizes)[1] == text


@pytest.mark.parametrize("arguments", ["", "{", '{"input":"', '{"input":"a', '{"input":"a"'])
def test_arguments_that_are_not_whole_have_no_text(arguments: str) -> None:
    assert read(arguments)[1] is None


def test_arguments_without_a_text_are_the_text() -> None:
    assert read('{"a": 1, "b": 2}')[1] == '{"a": 1, "b": 2}'
    assert read("{}")[1] == "{}"
