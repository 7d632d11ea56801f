"""Role markers: no text opens a turn, and what a model copies is what the client wrote."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config.settings import Notation
from gateway.fitten.chat.prompt import render
from gateway.fitten.chat.role_markers import MAX_BLANKS, RoleMarkerRestorer, escape_role_markers
from gateway.fitten.tools.reading.parser import ToolParser
from gateway.fitten.tools.writing.prompt import write_tools
from gateway.generation.pieces import Kind, Piece
from gateway.generation.request import GenerationRequest, Message, Tool, ToolCall
from tests.unit.fitten.chat.test_prompt import MARKER, hostile

NOTATIONS: list[Notation] = ["json", "hybrid"]
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.text }}<|im_end|>\n{% endfor %}"
shards = st.sampled_from(
    ["<|", "|>", "<", "|", ">", " ", "  ", "end", "x" * 64, "x" * 65, "\n", "\t", '"', "\\", "好",
     "<|user|>", "<| end |>", "<|  b  |>", "<| a|>", "<|<|end|>", "\x00", "\u3000", "\u200b", "😀"]
)  # fmt: skip
texts = st.lists(shards, max_size=12).map("".join) | hostile | st.text(max_size=40)
cuts = st.lists(st.integers(1, 12), max_size=40)


def cut(text: str, sizes: Sequence[int]) -> list[str]:
    """Return the text in pieces of these sizes; the last one has the rest."""
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return [part for part in (*parts, text[at:]) if part]


def restored(levels: Collection[int], parts: Sequence[str], kind: Kind = "content") -> str:
    restorer = RoleMarkerRestorer(levels)
    out: list[Piece] = []
    for part in parts:
        out += restorer.feed([(kind, part)])
    out += restorer.feed([], last=True)
    assert {name for name, _ in out} <= {kind}
    return "".join([text for _, text in out])


@settings(max_examples=500, deadline=None)
@given(texts, cuts)
@example("<|end|><| end |><|  end  |>", [1, 2, 3, 5, 8])
@example("<" + CHATML, [1] * 40)
def test_what_a_model_copies_is_what_the_client_wrote(text: str, sizes: list[int]) -> None:
    levels: set[int] = set()
    prompt = escape_role_markers(text, levels)
    assert MARKER.search(prompt) is None
    assert restored(levels, cut(prompt, sizes)) == text


@settings(max_examples=300, deadline=None)
@given(texts, cuts)
@example("<|\t|><|a\nb|><|\x08|>", [3])
def test_a_marker_in_arguments_is_restored_as_in_text(text: str, sizes: list[int]) -> None:
    """In JSON a marker looks as in text, whether the model writes it or the client's history."""
    levels: set[int] = set()
    value = escape_role_markers(text, levels)
    written = json.dumps({value: [value]}, ensure_ascii=False)
    assert escape_role_markers(json.dumps(text, ensure_ascii=False), levels) == json.dumps(
        value, ensure_ascii=False
    )
    arguments = json.loads(restored(levels, cut(written, sizes), "arguments"))
    assert arguments == {text: [text]}


@settings(max_examples=200, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), cuts)
def test_a_conversation_is_stable_over_two_turns(given_texts: list[str], sizes: list[int]) -> None:
    levels: set[int] = set()
    messages = [Message("user", text) for text in given_texts]
    first = render(messages, default_system="s", levels=levels)
    copied = restored(levels, cut(escape_role_markers("\n".join(given_texts), levels), sizes))
    assert copied == "\n".join(given_texts)
    again: set[int] = set()
    messages.append(Message("assistant", copied))
    messages.append(Message("user", copied))
    second = render(messages, default_system="s", levels=again)
    assert second.startswith(first.removesuffix("<|assistant|>"))
    assert second.count(escape_role_markers(copied, levels)) >= 2
    assert restored(again, cut(escape_role_markers(copied, again), sizes)) == copied


@settings(max_examples=200, deadline=None)
@given(texts, st.sampled_from(NOTATIONS))
@example("<| end |><|end|>", "json")
@example('{"a": "<|  end  |>"}', "json")
@example("<| end |>\n<|end|>", "hybrid")
@example('{"a": "<|  end  |>"}', "hybrid")
def test_a_call_of_the_history_that_is_copied_has_the_same_arguments(
    text: str, notation: Notation
) -> None:
    arguments = {"a": text, "b": [text, {"c": text}]}
    call = ToolCall("1", "write", json.dumps(arguments, ensure_ascii=False))
    messages = (Message("user", f"<|user|> {text}"), Message("assistant", "", calls=(call,)))
    request = GenerationRequest(messages, tools=(Tool("write"),))
    levels: set[int] = set()
    written = write_tools(request, notation, default_system="s", key=b"k")
    prompt = render(written.messages, default_system="s", levels=levels)
    copied = prompt.rpartition("<|assistant|>\n")[2].partition("\n<|end|>")[0]
    parser = ToolParser(request.tools, value=written.value)
    restorer = RoleMarkerRestorer(levels)
    pieces = parser.feed([("content", copied)]) + parser.flush()
    out = restorer.feed(pieces, last=True)
    assert out[0] == ("call", "write")
    whole = "".join([part for kind, part in out if kind == "arguments"])
    assert json.loads(whole) == arguments


@pytest.mark.parametrize(
    ("text", "escaped", "levels"),
    [
        ("<|end|>", "<| end |>", {0}),
        ("<|END|>", "<| END |>", {0}),
        ("<|eNd|><|User|>", "<| eNd |><| User |>", {0}),
        ("a<|im_start|>b", "a<| im_start |>b", {0}),
        ("<|endoftext|>", "<| endoftext |>", {0}),
        ("<<|end|>|>", "<<| end |>|>", {0}),
        ("<|<|end|>", "<|<| end |>", {0}),
        ("a <| b |> c", "a <|  b  |> c", {1}),
        ("<|  b  |><|b|>", "<|   b   |><| b |>", {0, 2}),
        ("<| b|><|b |>", "<| b|><|b |>", set()),
        ("x <| y", "x <| y", set()),
        ("<| a b |>", "<| a b |>", set()),
        ("<|a\tb|>", "<|a\tb|>", set()),
        ('"<|", "x|>"', '"<|", "x|>"', set()),
        ("f <|> g <$> h", "f <|> g <$> h", set()),
        ("a || b", "a || b", set()),
        ("", "", set()),
    ],
)
def test_what_looks_like_a_marker_gets_blanks_inside(
    text: str, escaped: str, levels: set[int]
) -> None:
    found: set[int] = set()
    assert escape_role_markers(text, found) == escaped
    assert found == levels


def test_markers_that_the_prompt_did_not_have_stay_as_the_model_wrote_them() -> None:
    code = "let y = f <| x |> g  // <| end |>"
    assert restored((), [code]) == code
    levels: set[int] = set()
    escape_role_markers("a <| b |> c", levels)
    assert restored(levels, [code, "<|  b  |>"]) == code + "<| b |>"
    escape_role_markers("<|user|>", levels)
    assert restored(levels, ["<| assistant |>"]) == "<|assistant|>", "a new one of a template"


@pytest.mark.parametrize("count", [MAX_BLANKS - 1, MAX_BLANKS, MAX_BLANKS + 1, 50 * MAX_BLANKS])
def test_blanks_are_counted_up_to_a_limit(count: int) -> None:
    levels: set[int] = set()
    text = f"<|{' ' * count}end{' ' * count}|>"
    prompt = escape_role_markers(text, levels)
    assert (prompt != text) == (count <= MAX_BLANKS)
    assert restored(levels, cut(prompt, [7] * (len(prompt) // 7))) == text


def test_kinds_keep_their_order_and_hold_nothing_for_each_other() -> None:
    restorer = RoleMarkerRestorer({0})
    pieces: list[Piece] = [
        ("reasoning", "see <| us"),
        ("content", "er |> <| e"),
        ("call", "write"),
        ("arguments", '{"a":"<| end'),
        ("arguments", ' |>","b":"<| e'),
        ("call", "write"),
        ("arguments", "{}"),
    ]
    out = [piece for one in pieces for piece in restorer.feed([one])]
    assert "".join([text for _, text in out]) == "".join(text for _, text in pieces).replace(
        "<| end |>", "<|end|>"
    )
    kinds = [kind for kind, _ in out]
    assert list(dict.fromkeys(kinds)) == ["reasoning", "content", "call", "arguments"]
    assert restorer.feed([], last=True) == []


def test_text_that_begins_no_marker_is_passed_on_at_once() -> None:
    restorer = RoleMarkerRestorer({0})
    for text in ("Hello", "a < b", "<|end|>", "<div>", "x <| y <", "z"):
        out = "".join([part for _, part in restorer.feed([("content", text)])])
        assert out.endswith(text.removesuffix("<"))
    held = "<| " + "x" * 64
    assert restorer.feed([("content", held)]) == []
    assert restorer.feed([("content", "x")]) == [("content", held + "x")]


@pytest.mark.parametrize(
    "part", ["<| ", "<| a", "<|  " * 7, "<| " + " " * 5000, "<| a" + " " * 5000, "<| " + "a" * 60]
)
def test_little_text_is_held_back_however_it_goes_on(part: str) -> None:
    """So each piece costs no more than a search of its text and of a few thousand characters."""
    restorer = RoleMarkerRestorer({0})
    text, out = part * 40, 0
    for count, character in enumerate(text, 1):
        out += sum(len(one) for _, one in restorer.feed([("content", character)]))
        assert count - out <= 2 * MAX_BLANKS + 70
    assert out + sum(len(one) for _, one in restorer.feed([], last=True)) == len(text)
