"""Positions and differences of code completion, without a server."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.completion.document import (
    MAX_CHARS,
    GapDocument,
    completion_request,
    gap_document,
)

TEXT = st.text(
    st.one_of(st.sampled_from("ab\n\r好é😀𝔘"), st.characters(blacklist_categories=["Cs"])),
    max_size=60,
)


def applied(meta: dict[str, Any], old: str) -> str:
    """The text that a request means, by UTF-16 units as the protocol says."""
    units = old.encode("utf-16-le")
    head, tail = units[: 2 * meta["plen"]], units[len(units) - 2 * meta["slen"] :]
    return head.decode("utf-16-le") + str(meta["diff"]) + tail.decode("utf-16-le")


def test_the_example_of_the_protocol() -> None:
    of = gap_document("# 你好\ndef add(a, b):\n    return ", "\n")
    meta = completion_request(of, "demo.py")["meta_datas"]
    assert (meta["cpos"], meta["bcpos"]) == (31, 35)
    assert meta["nmd5"] == "93e83e8a9619192a5c29b6932fbede16"
    after = gap_document("# 你好\ndef add(a, b):\n    return a", "\n")
    meta = completion_request(after, "demo.py", of.text)["meta_datas"]
    assert meta == {
        **meta,
        "cpos": 32,
        "bcpos": 36,
        "plen": 31,
        "slen": 1,
        "bplen": 35,
        "bslen": 1,
        "pmd5": "93e83e8a9619192a5c29b6932fbede16",
        "nmd5": "6e15b902d234d0b4c06cd69bc60b1cfb",
        "diff": "a",
    }


@given(prefix=TEXT, suffix=TEXT, old=TEXT)
def test_a_difference_means_the_whole_text_in_units_and_bytes(
    prefix: str, suffix: str, old: str
) -> None:
    of = GapDocument(prefix, suffix)
    for known in (None, old, prefix, suffix, prefix + suffix):
        meta = completion_request(of, "f", known)["meta_datas"]
        assert applied(meta, known or "") == of.text
        assert len(prefix.encode()) == meta["bcpos"]
        assert len(prefix.encode("utf-16-le")) == 2 * meta["cpos"]
        head = (known or "").encode()[: meta["bplen"]].decode()
        assert len(head.encode("utf-16-le")) == 2 * meta["plen"]
        assert meta["bslen"] == 0 or of.text.encode()[-meta["bslen"] :].decode()
        assert meta["nmd5"] == hashlib.md5(of.text.encode()).hexdigest()


def test_a_long_text_is_cut_round_the_cursor_between_characters() -> None:
    of = gap_document("好" * 150_000 + "😀", "𝔘" + "b" * 150_000)
    assert of.cut
    assert len(of.text) == MAX_CHARS
    assert of.prefix.endswith("好😀")
    assert of.suffix.startswith("𝔘b")


@pytest.mark.parametrize(
    "mark", ["<fim_prefix>", "<|endoftext|>", "<|user|>", "!FCSUFFIX!", "<fim_middle>", "<|end|>"]
)
def test_markers_in_the_text_are_not_sent(mark: str) -> None:
    of = gap_document(f"a{mark}b", f"c{mark}d")
    assert (of.prefix, of.suffix) == ("ab", "cd")


MARKERS = re.compile(
    r"<fim_(?:prefix|suffix|middle)>|!FC(?:PREFIX|SUFFIX|MIDDLE)!|<\|[a-z_]{0,64}\|>"
)


@given(
    st.lists(st.sampled_from(["<|", "|>", "a", "<fim_", "prefix", ">", "!FC", "PREFIX", "!", "<"])),
    st.integers(0, 40),
)
def test_no_marker_is_left_or_made_however_they_are_nested_or_split(
    parts: list[str], cut: int
) -> None:
    text = "".join(parts)
    assert not MARKERS.search(gap_document(text[:cut], text[cut:]).text)
