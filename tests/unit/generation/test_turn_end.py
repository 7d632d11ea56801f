"""The specification of where an answer ends: a marker ends it, or is text that it quotes.

A marker ends the answer only at the start of a line, outside fences and inline code, followed by
a line end and text, or by nothing until the end of the stream. Every other marker is text.
The cases with tools are in tests/unit/fitten/tools/test_stop_sequences.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.fitten.chat.prompt import OPENING, ROLE_MARKERS
from gateway.generation.pieces import Piece
from gateway.generation.stop_sequences import StopSequenceFilter
from gateway.generation.turn_end import MAX_BLANKS, TurnEndFinder
from tests.counting import calls_of

# How an answer ends: at the end of the stream; at a marker, and what follows is not read; at a
# stop string; at `max_tokens`; with an error.
END, TURN, STOP, LENGTH, ERROR = "end", "turn", "stop", "length", "error"

Ending = tuple[str, str]


def run(pieces: Sequence[str], *, broken: bool = False, **options: Any) -> Ending:
    """Return the text and how it ended. broken: the connection breaks behind the pieces."""
    stop_filter = StopSequenceFilter(markers=ROLE_MARKERS, opening=OPENING, **options)
    out: list[Piece] = []
    for piece in pieces:
        out += stop_filter.feed([("content", piece)])
    at_once = stop_filter.finish_reason
    out += stop_filter.flush(whole=not broken)
    assert all(text for _, text in out), "a piece is never empty"
    text = "".join(text for _, text in out)
    assert stop_filter.content_bytes == len(text.encode())
    if stop_filter.finish_reason == "length":
        return text, LENGTH
    if stop_filter.stop_sequence is not None:
        return text, STOP
    assert stop_filter.finish_reason == at_once
    return text, TURN if at_once else ERROR if broken else END


def kept(text: str) -> tuple[str, Ending]:
    """Return a case in which every marker is text."""
    return text, (text, END)


def splits(text: str) -> Iterator[list[str]]:
    """Yield the text whole, in characters, in two at every place, and in threes."""
    yield [text] if text else []
    yield list(text)
    yield from ([text[:place], text[place:]] for place in range(1, len(text)))
    yield [text[place : place + 3] for place in range(0, len(text), 3)]


JINJA = """\
{% for message in messages %}
{% if message['role'] == 'user' %}
<|user|>
{{ message['content'] }}
<|end|>
{% elif message['role'] == 'assistant' %}
<|assistant|>
{{ message['content'] }}
<|end|>
{% endif %}
{% endfor %}
<|assistant|>
"""
CONFIG = """\
{
  "additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
  "eos_token": "<|endoftext|>",
  "chat_template": "{{ '<|user|>\\n' + content + '<|end|>\\n<|assistant|>\\n' }}"
}
"""
CASE_02 = "```python\ntokens = ['<|system|>', '<|user|>', '<|end|>']\nprint(tokens)\n```"

ENDINGS: dict[str, tuple[str, Ending]] = {
    # The model runs past its turn.
    "a user turn": ("Hi.\n<|user|>\nAnd you?", ("Hi.\n", TURN)),
    "an end and a user turn": ("Hi.\n<|end|>\n<|user|>\nAnd you?", ("Hi.\n", TURN)),
    "an end and more text": ("Hi.\n<|end|>\nmore", ("Hi.\n", TURN)),
    "a further turn of its own": ("Hi.\n<|assistant|>\nHi again", ("Hi.\n", TURN)),
    "a system turn": ("Hi.\n<|system|>\nYou are", ("Hi.\n", TURN)),
    "the end of a document": ("Hi.\n<|endoftext|>\nAn article", ("Hi.\n", TURN)),
    "upper case": ("Hi.\n<|END|>\n<|User|>\nmore", ("Hi.\n", TURN)),
    "CRLF": ("Hi.\r\n<|end|>\r\n<|user|>\r\nmore", ("Hi.\r\n", TURN)),
    "blank lines around it": ("Hi.\n\n\n<|end|>\n\n\n  more", ("Hi.\n\n\n", TURN)),
    "behind a closed fence": ("```\ncode\n```\n<|end|>\nmore", ("```\ncode\n```\n", TURN)),
    "behind a tilde fence": ("~~~py\ncode\n~~~\n<|user|>\nx", ("~~~py\ncode\n~~~\n", TURN)),
    "behind inline code": ("Use `x` or ``y`z``.\n<|end|>\nmore", ("Use `x` or ``y`z``.\n", TURN)),
    "in the paragraph behind an unpaired backtick": (
        "A ` alone.\n\nHi.\n<|end|>\nmore",
        ("A ` alone.\n\nHi.\n", TURN),
    ),
    "behind a fence in a list": (
        "1. ```sh\n   ls\n   ```\n<|end|>\nmore",
        ("1. ```sh\n   ls\n   ```\n", TURN),
    ),
    "behind a Markdown document in a fence": (
        "```md\n# A\n```py\nb\n```\n```\n<|end|>\nmore",
        ("```md\n# A\n```py\nb\n```\n```\n", TURN),
    ),
    "behind a line of backticks in code": (
        "````\n```\n````\n<|end|>\nmore",
        ("````\n```\n````\n", TURN),
    ),
    "quoted before": (
        "The `<|end|>` marker, or <|end|>.\n<|end|>\n<|user|>\nx",
        ("The `<|end|>` marker, or <|end|>.\n", TURN),
    ),
    # Right at the beginning.
    "at the beginning": ("<|user|>\nWho?", ("", TURN)),
    "at the beginning, behind blank lines": ("\n\n<|end|>\n<|user|>\nWho?", ("\n\n", TURN)),
    "the opening of its own turn repeated": kept("<|assistant|>\nHi."),
    "the opening behind a line end": kept("\n<|assistant|>\nHi."),
    "the opening twice": ("<|assistant|>\n<|assistant|>\nx", ("<|assistant|>\n", TURN)),
    "the opening alone": ("<|assistant|>", ("", END)),
    "nothing but an end": ("<|end|>", ("", END)),
    # Nothing follows.
    "at the end": ("Hi.\n<|end|>", ("Hi.\n", END)),
    "at the end, with line ends": ("Hi.\n<|end|>\r\n\n", ("Hi.\n", END)),
    "at the end, with blanks": ("Hi.\n<|endoftext|> \t", ("Hi.\n", END)),
    "at the end, half": kept("Hi.\n<|en"),
    "at the end, all but a character": kept("Hi.\n<|end|"),
    "at the end, a less-than sign": kept("Hi.\n<"),
    "at the end in an open fence": kept("```\n<|end|>"),
    "at the end of a line": kept("Hi.<|end|>"),
    "at the end, two at the start of lines": ("Hi.\n<|end|>\n<|user|>", ("Hi.\n", TURN)),
    "at the end, two in a line": kept("Hi.\n<|end|><|user|>"),
    # Quoted.
    "in a sentence": kept("Write <|end|> there.\nOk?"),
    "at the end of a sentence": kept("Write <|end|>\nand more"),
    "followed by text": kept("Hi.\n<|end|>: the end\nx"),
    "followed by a blank and text": kept("Hi.\n<|end|> ends\nx"),
    "followed by blanks and a line end": kept("a\n<|end|>  \nb"),
    "followed by a bare carriage return": kept("a\n<|end|>\rb"),
    "behind a bare carriage return": kept("a\r<|end|>\nb"),
    "several in a line": kept("<|user|><|end|>\nx"),
    "all in a row": kept(f"{''.join(ROLE_MARKERS)}\nx"),
    "indented by a blank": kept(" <|user|>\nx"),
    "indented code": kept("So:\n\n    <|user|>\n    x\n"),
    "indented by a tab": kept("So:\n\t<|end|>\nx"),
    "in a list": kept("- <|user|>\n- <|end|>\n"),
    "in a quotation": kept("> <|user|>\n> x\n"),
    "in a table": kept("| <|user|> |\n|---|\n"),
    "in inline code": kept("`<|user|>`\nand `<|end|>`\n"),
    "in inline code of two lines": kept("As `a\n<|end|>\nb` is"),
    "in long inline code": kept("``a`\n<|end|>\nb``\nc"),
    "behind an escaped backtick": kept("\\` and `a\n<|end|>\nb`"),
    "in a fence": kept(f"```jinja\n{JINJA}```\nDone."),
    "in a fence of tildes": kept(f"~~~~\n{JINJA}~~~~\n"),
    "in a fence with CRLF": kept("```\r\n<|user|>\r\nx\r\n```\r\n"),
    "in a fence that never closes": kept("```\n<|user|>\nx"),
    "in an indented fence": kept("  ```\n<|user|>\nx\n  ```"),
    "in a fence in a list": kept("- ```\n<|end|>\nx\n  ```"),
    "in a fence with other fences": kept("````md\n```\n<|user|>\nx\n```\n<|end|>\ny\n````"),
    "in a Markdown document in a fence": kept("```md\n```py\na\n```\n<|user|>\nx\n```"),
    "in a fence with a fence as code": kept("```py\nx = '''\n    ```\n<|user|>\n'''\n```"),
    "in a fence with tildes": kept("```\n~~~\n<|end|>\nx\n```"),
    "a tokenizer's configuration": kept(CONFIG),
    "a tokenizer's configuration in a fence": kept(f"```json\n{CONFIG}```"),
    "a list of tokens": kept(CASE_02),
    "a marker of another family": kept("Hi.\n<|im_end|>\n<|im_start|>x"),
    "a marker of another family at the end": kept("Hi.\n<|im_end|>"),
    "a longer marker": kept("Hi.\n<|end|>|\nx"),
    "a longer word": kept("Hi.\n<|ender|>\nx"),
    "an escaped marker": kept("Hi.\n<| end |>\nx"),
    "a stream operator": kept("cout\n<< x;\n"),
    "HTML": kept("<p>\n<b>x</b>\n<br>\n"),
    "more white space than is held back": kept("a\n<|end|>\n" + "\n" * MAX_BLANKS + "b"),
    "nothing": kept(""),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_an_answer_ends_as_specified_however_it_is_split(name: str) -> None:
    text, expected = ENDINGS[name]
    if len(text) > 1000:
        for size in (1, 7, 1000, len(text)):
            assert run([text[i : i + size] for i in range(0, len(text), size)]) == expected
        return
    for pieces in splits(text):
        assert run(pieces) == expected, pieces


def test_every_marker_ends_an_answer_and_is_kept_when_it_is_quoted() -> None:
    for marker in ROLE_MARKERS:
        for written in (marker, marker.upper()):
            assert run([f"a\n{written}\nb"]) == ("a\n", TURN)
            assert run([f"a\n{written}"]) == ("a\n", END)
            assert run([f"a {written}\nb"]) == (f"a {written}\nb", END)


BROKEN = [
    "Hi.\n<|end|>",
    "Hi.\n<|end|>\n",
    "Hi.\n<|end|>\r\n  \n",
    "Hi.\n<|us",
    "<|end|>",
    "Hi.\n<",
    "```\n<|end|>\n",
    "Hi.<|end|>",
]


@pytest.mark.parametrize("text", BROKEN)
def test_when_the_connection_breaks_what_is_held_back_is_text(text: str) -> None:
    for pieces in splits(text):
        assert run(pieces, broken=True) == (text, ERROR)


def test_a_turn_that_has_begun_is_cut_also_when_the_connection_breaks() -> None:
    for pieces in splits("Hi.\n<|end|>\n<|user|>\nAnd"):
        assert run(pieces, broken=True) == ("Hi.\n", TURN)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        # 4 bytes are one token.
        ("abc\n<|end|>\nmore", {"max_tokens": 1}, ("abc\n", TURN)),
        ("abcd\n<|end|>\nmore", {"max_tokens": 1}, ("abcd", LENGTH)),
        ("abc\n<|end|>", {"max_tokens": 1}, ("abc\n", END)),
        ("abc\n<|end|>x", {"max_tokens": 1}, ("abc\n", LENGTH)),
        ("abc\n<|end|>x", {"max_tokens": 2}, ("abc\n<|en", LENGTH)),
        ("abc\n<|end|>x", {"max_tokens": 3}, ("abc\n<|end|>x", END)),
        ("a\n<|end|>\nSTOP", {"stop": ["STOP"]}, ("a\n", TURN)),
        ("a STOP\n<|end|>\nx", {"stop": ["STOP"]}, ("a ", STOP)),
        ("a\n<|end|>\nx", {"stop": ["<|end|>"]}, ("a\n", STOP)),
        ("a <|end|> b", {"stop": ["<|end|>"]}, ("a ", STOP)),
        ("a\n<|end|>\nx", {"stop": ["\n<|end|>"]}, ("a", STOP)),
        ("a\n<|end|>\nx", {"stop": ["\n<|end|>\nx"]}, ("a", STOP)),
        ("a\n<|end|>\nxy", {"stop": ["a\n<|end|>\nxy"]}, ("a\n", TURN)),
        ("a\n<|end|>\n\nx", {"stop": ["\n\n"]}, ("a\n<|end|>", STOP)),
        ("a\n<|end|>STOP", {"stop": ["STOP"]}, ("a\n<|end|>", STOP)),
        ("a\n<|end|>", {"stop": ["d|>\nno"]}, ("a\n", END)),
        ("a\n<|end|>\n", {"stop": ["\nno"]}, ("a\n", END)),
        ("a\n<|end|>\nno", {"stop": ["|>\nnot"]}, ("a\n", TURN)),
        ("```\n<|end|>\nSTOP", {"stop": ["STOP"]}, ("```\n<|end|>\n", STOP)),
        ("a\n<|END|>\nx", {"stop": ["<|end|>"]}, ("a\n", TURN)),
        ("a\n<|end|>\nb", {"stop": ["never"], "max_tokens": 100}, ("a\n", TURN)),
    ],
)
def test_markers_stop_strings_and_the_limit_together(
    text: str, options: dict[str, Any], expected: Ending
) -> None:
    for pieces in splits(text):
        assert run(pieces, **options) == expected, pieces


PARTS = [
    *("<|end|>", "<|user|>", "<|USER|>", "<|assistant|>", "<|im_end|>", "<", "<|", "|>", "end"),
    *("\n", "\n", "\n", "\r\n", "\r", " ", "    ", "\t", "x", "text", "- ", "> ", "1. "),
    *("`", "``", "```", "````", "~~~", "```py\n", "\n```\n", "\\`", "STOP"),
]
answers = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


@settings(max_examples=400, deadline=None)
@given(
    answers,
    st.lists(st.integers(0, 1000), max_size=12),
    st.sampled_from([(), ("STOP",), ("\n\n", "x\n"), ("<|end|>\n",), ("|>\nx", "t\n<|en")]),
    st.none() | st.integers(1, 12),
    st.booleans(),
)
@example("```\n<|end|>\nx", [1, 2, 3, 4], (), None, False)
def test_any_split_ends_at_the_same_place(
    text: str,
    places: list[int],
    stop: tuple[str, ...],
    max_tokens: int | None,
    broken: bool,
) -> None:
    expected = run([text] if text else [], stop=stop, max_tokens=max_tokens, broken=broken)
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    parts = [text[a:b] for a, b in pairwise(bounds)]
    assert run(parts, stop=stop, max_tokens=max_tokens, broken=broken) == expected
    assert run(list(text), stop=stop, max_tokens=max_tokens, broken=broken) == expected


@settings(max_examples=200, deadline=None)
@given(answers)
def test_text_is_lost_only_behind_a_marker_at_the_start_of_a_line(text: str) -> None:
    kept, ending = run([text] if text else [])
    assert text.startswith(kept)
    lost = text[len(kept) :]
    assert bool(lost) or ending == END
    if lost:
        assert kept.endswith("\n") or not kept
        assert lost.lower().startswith(ROLE_MARKERS)


@pytest.mark.parametrize("size", [1, 5, 4096, 100_000])
def test_a_fence_counts_however_far_back_it_was_opened(size: int) -> None:
    """Longer than what is kept of the text, in one line and in many."""
    for code in ("x = 1\n" * 5000, "y" * 30_000 + "\n"):
        for opening, ending in (("```\n", END), ("~~~~~\n", END), ("", TURN)):
            text = f"{opening}{code}<|end|>\n<|user|>\nx"
            pieces = [text[i : i + size] for i in range(0, len(text), size)]
            expected = text if ending == END else code
            assert run(pieces) == (expected, ending)


@pytest.mark.parametrize("pad", [4090, 4095, 4096, 4097, 8192, 9000])
def test_a_long_line_is_read_the_same_however_it_is_split(pad: int) -> None:
    for line in (
        f"{'a' * pad}`b` c",
        f"```{'a' * pad}",
        f"{'`' * pad}",
        f"{' ' * pad}",
        f"`{'a' * pad}",
    ):
        text = f"x `\n{line}\n<|end|>\nmore"
        expected = run([text])
        for size in (1, 1000, 4096, 4097):
            assert run([text[i : i + size] for i in range(0, len(text), size)]) == expected


def test_little_is_held_back() -> None:
    stop_filter = StopSequenceFilter(markers=ROLE_MARKERS, opening=OPENING)
    passed = 0
    for character in "a\n<|end|>" + "\n" * (MAX_BLANKS + 100):
        passed += sum(len(text) for _, text in stop_filter.feed([("content", character)]))
    assert passed == len("a\n<|end|>") + MAX_BLANKS + 100


def test_a_less_than_sign_within_a_line_is_not_held_back() -> None:
    stop_filter = StopSequenceFilter(markers=ROLE_MARKERS, opening=OPENING)
    for piece in ("if a ", "<", "|", "end", "|>", " b <|user|>", "<"):
        assert stop_filter.feed([("content", piece)]) == [("content", piece)]


@pytest.mark.parametrize(
    "part",
    ["<|end|>x\n", "`\n", "` ``", "```\n", "```x\n", "~~~\n", "\n", "<\n", "<|end|>", "a `b` <|\n"],
)
def test_the_work_grows_with_the_text_and_no_faster(part: str) -> None:
    """Calls for a text and one ten times longer, in pieces of 4,000 characters."""
    calls = []
    for size in (20_000, 200_000):
        text = "`\n" + (part * size)[:size] + "<"
        pieces = [text[start : start + 4000] for start in range(0, len(text), 4000)]
        calls.append(calls_of(partial(run, pieces)))
    assert calls[1] <= 12 * calls[0] + 200


def test_a_finder_does_not_forget_what_it_has_read() -> None:
    finder = TurnEndFinder(ROLE_MARKERS, OPENING)
    finder.advance("```\n")
    assert finder.find("<|end|>\nx") is None
    finder.advance("```\n")
    assert finder.find("<|end|>\nx") == (0, 9)
    assert finder.find("<|end|>\n") == (0, None)
    finder.advance("text")
    assert finder.find("<|end|>\nx") is None
    finder.start_line()
    assert finder.find("<|end|>\nx") == (0, 9)


@pytest.mark.parametrize(
    ("begun", "answer", "left"),
    [
        ("```\nchat:\n", "<|user|>\nhi\n```\n", "<|user|>\nhi\n```\n"),
        ("```\nchat:", "\n<|user|>\nhi", "\n<|user|>\nhi"),
        ("```\nx\n```\n", "y\n<|user|>\nhi", "y\n"),
        ("It is", " blue.\n<|end|>", " blue.\n"),
        ("It is blue.", "<|end|>", ""),
        ("It is", "<|assistant|>\nIt is blue.", "<|assistant|>\nIt is blue."),
    ],
)
def test_an_answer_that_continues_a_text_is_read_behind_it(
    begun: str, answer: str, left: str
) -> None:
    for size in (1, 3, 100):
        stop_filter = StopSequenceFilter(markers=ROLE_MARKERS, opening=OPENING, begun=begun)
        out = []
        for start in range(0, len(answer), size):
            out += stop_filter.feed([("content", answer[start : start + size])])
        out += stop_filter.flush()
        assert "".join(text for _, text in out) == left
