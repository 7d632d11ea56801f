"""Halves of characters in JSON: each becomes U+FFFD, and nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.generation.surrogates import (
    SurrogateJoiner,
    replace_half_characters,
    replace_halves,
)

GONE = "\ufffd"


@pytest.mark.parametrize(
    ("raw", "text", "count"),
    [
        (rb"log: ok \ud83d", f"log: ok {GONE}", 1),
        (rb"\ud83d and more", f"{GONE} and more", 1),
        (rb"\udE00\uD83D", GONE * 2, 2),
        (rb"\ud83d\ud83d\ude00\ude00", f"{GONE}😀{GONE}", 2),
        (rb"\ud83d\ude00", "😀", 0),
        (rb"\ud83d\n\ude00", f"{GONE}\n{GONE}", 2),
        (rb"\\ud83d", r"\ud83d", 0),
        (rb"\\\ud83d", f"\\{GONE}", 1),
        (rb"\\\\ud83d\ude00", rf"\\ud83d{GONE}", 1),
        (rb"\ud83d\\ude00", rf"{GONE}\ude00", 1),
        (rb"\udce9t\udce9", f"{GONE}t{GONE}", 2),  # Python's surrogateescape
        (b"\xed\xa0\xbd", GONE, 1),
        (b"\xed\xb8\x80x", f"{GONE}x", 1),
        (b"\xed\xa0\xbd\xed\xb8\x80", "😀", 0),
        (b"\xed\xa0\xbd \\ud83d", f"{GONE} {GONE}", 2),
        (b"a\xf0\x9f", f"a{GONE}", 1),
        (b"a\xf0\x9f\x98 b", f"a{GONE} b", 1),
        (b"\xe5\xa5 \xe5\xa5\xbd", f"{GONE} 好", 1),
        ("한국어 \ud7a3 é 😀".encode(), "한국어 \ud7a3 é 😀", 0),
    ],
)
def test_each_half_of_a_character_is_replaced(raw: bytes, text: str, count: int) -> None:
    repaired, found = replace_half_characters(b'{"a":"' + raw + b'"}')
    assert (msgspec.json.decode(repaired), found) == ({"a": text}, count)


def test_the_name_of_a_member_may_have_a_half() -> None:
    repaired, _ = replace_half_characters(rb'{"\ud83d":1}')
    assert msgspec.json.decode(repaired) == {GONE: 1}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"\xe9"}',
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        "{'a':'é'}".encode("latin-1"),
        '{"a":"中文"}'.encode("gbk"),
        rb'{"a":"\ud83"}',
        b'{"a":"\\ud83d\0"}',
    ],
)
def test_what_is_no_half_of_a_character_stays(raw: bytes) -> None:
    assert replace_half_characters(raw) == (raw, 0)


def test_the_halves_of_a_bomb_are_not_all_replaced() -> None:
    for half in (rb"\ud83d", b"\xe2\x82", b"\xed\xa0\xbd", b"\xed\xa0\xbd\xed\xb8\x80"):
        _, found = replace_half_characters(b'{"a":"' + half * 150_000 + b'"}')
        assert found <= 10_000
    assert replace_half_characters(rb"\ud83d" * 200_001)[1] == 0


texts = st.text(st.characters() | st.sampled_from('\ud83d\ude00\\"ud89€é'), max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(texts, texts | st.lists(texts, max_size=3), max_size=3), st.booleans())
def test_any_text_comes_through_with_its_halves_replaced(
    value: dict[str, Any], escaped: bool
) -> None:
    written = json.dumps(value, ensure_ascii=escaped)
    repaired, _ = replace_half_characters(written.encode("utf-8", "surrogatepass"))
    wanted = json.loads(replace_halves(json.dumps(value, ensure_ascii=False))[0])
    assert msgspec.json.decode(repaired) == wanted


HALVES = st.text(st.sampled_from("a好😀"), max_size=9).map(
    lambda text: [chr(unit) for unit in memoryview(text.encode("utf-16-le")).cast("H")]
)


@given(HALVES, st.data())
def test_halves_that_came_in_two_texts_become_one_character(
    halves: list[str], data: st.DataObject
) -> None:
    joiner, out, at = SurrogateJoiner[str](), "", 0
    while at < len(halves):
        size = data.draw(st.integers(1, 3))
        part = "".join(halves[at : at + size]).encode("utf-16", "surrogatepass")
        at += size
        # A decoder of JSON joins the pairs within a text.
        out += joiner.join("content", part.decode("utf-16", "surrogatepass"))
    assert joiner.flush() == []
    assert out == "".join(halves).encode("utf-16", "surrogatepass").decode("utf-16")


def test_halves_of_different_kinds_are_not_joined() -> None:
    joiner = SurrogateJoiner[str]()
    assert joiner.join("content", "a\ud83d") == "a"
    assert joiner.join("reasoning", "\ude00") == GONE
    assert joiner.join("content", "\ud83d") == GONE
    assert joiner.flush() == [("content", GONE)]
