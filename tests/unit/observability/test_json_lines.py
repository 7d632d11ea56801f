"""Log lines for machines: one JSON object a line, in one form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.observability.json_lines import json_line
from gateway.redaction import Redactor


def line(**fields: Any) -> str:
    event = {"n": 1, "level": "info", "event": "request", "timestamp": "T", **fields}
    return json_line(event, Redactor(["correct horse 秘密"]))


def test_time_level_and_event_come_first() -> None:
    assert line() == '{"timestamp":"T","level":"info","event":"request","n":1}'


@pytest.mark.parametrize(
    "value",
    ["plain", object(), "half \ud83d of an emoji", {1: "a key that is no text"}],
    ids=["plain", "unknown type", "lone surrogate", "key"],
)
def test_all_lines_have_one_spacing(value: Any) -> None:
    assert line(a=value, b=[1, 2]).startswith('{"timestamp":"T","level":"info","event":"request",')
    assert line(a=value, b=[1, 2]).endswith(',"b":[1,2]}')


@pytest.mark.parametrize(
    "text", ["模型不存在", "café", "Привет", "日本語", "😀", "“quotes” – dash"]
)
def test_letters_of_every_language_are_written_as_they_are(text: str) -> None:
    assert f'"{text}"' in line(a=text)


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"),
        *("\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"),
        *("\u200e", "\u200f", "\u061c", "\ufeff", "\U000e0001", "\ud800", "\udfff"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("before", ["letters 好 ", "half \ud83d "])
def test_what_could_act_on_a_terminal_or_a_reader_is_escaped(before: str, character: str) -> None:
    for fields in ({"a": f"{before}{character}"}, {"a": [{f"{before}{character}": 1}]}):
        written = line(**fields)
        assert written.isprintable()
        assert json.loads(written)["a"] == fields["a"]


def test_a_secret_is_masked_before_its_characters_are_escaped() -> None:
    secret = "it's \"\\ 秘\u2028\x1b密"
    for value in (secret, [secret], {secret: [secret]}):
        written = json_line({"event": "e", "a": value}, Redactor([secret]))
        assert "****" in written
        assert "密" not in written
