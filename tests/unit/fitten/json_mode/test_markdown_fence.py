"""The fence round JSON goes, and nothing else does, however the text is split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.json_mode.markdown_fence import MarkdownFence, strip_fence
from gateway.generation.pieces import Piece


def streamed(texts: list[str]) -> str:
    fence = MarkdownFence()
    out: list[Piece] = []
    for text in texts:
        out += fence.feed([("content", text)])
    out += fence.flush()
    assert all(text for _, text in out)
    return "".join(text for _, text in out)


JSON = '{"a": ["`", "```", 1]}'
AROUND = [
    (JSON, JSON),
    (f"```json\n{JSON}\n```", JSON),
    (f"```JSON\r\n{JSON}\r\n```\r\n", JSON),
    (f"  \n```\n{JSON}```  ", JSON),
    (f"```{JSON}```", JSON),
    (f"```json {JSON}\n\n```\n\n", JSON),
    (f"````jsonc\n{JSON}\n````", JSON),
    ('```json\n"text"\n```', '"text"'),
    ("```\n-1\n```", "-1"),
    (f"  {JSON}  ", f"  {JSON}  "),
    ("```json\n```", "```json\n```"),
    ("```", "```"),
    ("``", "``"),
    ("", ""),
    ("```python\nprint()\n```", "```python\nprint()\n```"),
    ("```js\n{}\n```", "```js\n{}\n```"),
    ("```true```", "```true```"),
    ("`{}`", "`{}`"),
    (f"Here:\n```json\n{JSON}\n```", f"Here:\n```json\n{JSON}\n```"),
    ("```json\n" + " " * 300 + "{}\n```", "```json\n" + " " * 300 + "{}\n```"),
]


@pytest.mark.parametrize(("text", "left"), AROUND)
def test_a_fence_round_all_of_the_answer_goes(text: str, left: str) -> None:
    assert strip_fence(text) == left
    assert streamed([text]) == left
    assert streamed(list(text)) == left


@pytest.mark.parametrize(
    ("text", "whole", "stream"),
    [
        # The opening has left before it is known that there is no end, or more after it.
        ('```json\n{"a":', '```json\n{"a":', '{"a":'),
        ("````\n{}\n```", "````\n{}\n```", "{}\n```"),
        ("```\n{}\n```\nbye", "```\n{}\n```\nbye", "{}\n```\nbye"),
        ("```\n{}\n```\n```\n{}\n```", "{}\n```\n```\n{}", "{}\n```\n```\n{}"),
    ],
)
def test_what_is_not_fenced_as_a_whole_is_left_or_keeps_all_but_the_opening(
    text: str, whole: str, stream: str
) -> None:
    assert strip_fence(text) == whole
    assert streamed(list(text)) == stream


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["```", "`", "json", "\n", " ", "{}", "[1]", "x", "\r\n", " " * 130]),
            st.text(max_size=5),
        ),
        max_size=30,
    ),
    st.data(),
)
def test_every_cut_of_the_text_gives_the_same(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    expected = streamed([text])
    assert streamed([piece for piece in pieces if piece]) == expected
    if (whole := strip_fence(text)) != text:
        assert whole == expected
    assert text.endswith(expected) or expected in text


@given(st.text(alphabet="`{}\n x", max_size=50))
def test_only_marks_and_blanks_are_ever_taken_away(text: str) -> None:
    def maintained(text: str) -> str:
        return "".join(c for c in text if c not in "` \n")

    assert maintained(streamed(list(text))) == maintained(text) == maintained(strip_fence(text))


def test_text_is_not_held_back() -> None:
    fence = MarkdownFence()
    assert fence.feed([("content", "```json\n")]) == []
    assert fence.feed([("content", '{"a"')]) == [("content", '{"a"')]
    assert fence.feed([("content", ": 1")]) == [("content", ": 1")]
    assert fence.feed([("content", "}\n")]) == [("content", "}")]
    assert fence.feed([("content", "\n" * 1000)]) == [("content", "\n" * 745)]
    assert fence.feed([("reasoning", "```")]) == [("reasoning", "```")]


def test_an_answer_without_a_fence_is_passed_on_as_it_comes() -> None:
    fence = MarkdownFence()
    pieces: list[Piece] = [("content", '{"a": "'), ("content", "\n```\n"), ("content", "``` ")]
    assert fence.feed(pieces) == pieces
    assert fence.flush() == []
