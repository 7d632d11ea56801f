"""Bytes of an answer to pieces: every trap, and any cut of the bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.fitten.chat.decoder import AnswerDecoder, UpstreamUsage
from gateway.generation.pieces import Piece

GOLDEN = Path(__file__).parents[3] / "golden" / "wire"


def decode(parts: Iterable[bytes], *, whole: bool = True, **options: Any) -> dict[str, Any]:
    """Return everything that was decoded from an answer, the pieces joined by kind."""
    decoder = AnswerDecoder(**options)
    pieces: list[Piece] = []
    for part in parts:
        pieces += decoder.feed(part)
        while decoder.has_parts:
            pieces += decoder.next_part()
    for _ in range(2):  # the second time is for what follows the parts of a long last line
        pieces += decoder.finish(whole=whole)
        while decoder.has_parts:
            pieces += decoder.next_part()
    assert all(text for _, text in pieces), "a piece is never empty"
    error = decoder.error
    return {
        "content": "".join(text for kind, text in pieces if kind == "content"),
        "reasoning": "".join(text for kind, text in pieces if kind == "reasoning"),
        "usage": None
        if decoder.usage is None
        else [decoder.usage.input_tokens, decoder.usage.output_tokens],
        "trace": decoder.trace,
        "complete": decoder.complete,
        "skipped": decoder.skipped,
        "error": None if error is None else [type(error).__name__, error.status, error.code],
    }


def cut(raw: bytes, places: Sequence[int]) -> list[bytes]:
    bounds = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[a:b] for a, b in pairwise(bounds)]


def lines(*members: Any) -> bytes:
    """NDJSON; bytes stand for themselves."""
    return b"".join(
        (member if isinstance(member, bytes) else json.dumps(member).encode()) + b"\n"
        for member in members
    )


USAGE = {"usage": {"input_tokens": 9, "output_tokens": 2, "status": "ok"}}

text = st.text(max_size=6) | st.sampled_from(
    ["heartbeat", "heartbeat 2", "heartbeats", "\0\0\n", "\ufeff", "好的", "😀", "\n", "\ud83d",
     "\ude00", "\ude00\ud83d", "a\ud83d", "<|end|>", "\0\ud83d"]
)  # fmt: skip
counts = st.integers(0, 99) | st.sampled_from(["7", "", "x", None, -1, True, 1.5])
member = st.fixed_dictionaries(
    {},
    optional={
        "delta": text | st.none() | st.integers() | st.lists(st.none(), max_size=1),
        "reasoning_delta": text | st.none(),
        "thinking_delta": text,
        "tracedata": text | st.none(),
        "usage": st.none()
        | st.fixed_dictionaries({}, optional={"input_tokens": counts, "output_tokens": counts}),
        "finish_reason": st.none() | st.just("stop"),
        "else": st.none(),
    },
)
failure = st.sampled_from(
    [{"detail": "x"}, {"error": {}}, {"error": "x"}, {"status_code": 429, "msg": "x"}, {"msg": "x"}]
)
line = st.one_of(
    st.builds(json.dumps, member),
    st.builds(lambda value: json.dumps(value, ensure_ascii=False), member),
    st.sampled_from(["", " ", "\0", "\ufeff", "null", "1", '"a"', "[]", "{", "<html>", "{}x", "é"]),
    st.builds(json.dumps, failure),
).map(lambda written: written.encode("utf-8", "surrogatepass"))
answer = st.builds(
    lambda listed, ends, last: (
        b"".join(
            one + end for one, end in zip(listed, [*ends, *[b"\n"] * len(listed)], strict=False)
        )
        + last
    ),
    st.lists(line, max_size=8),
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n\r\n"]), max_size=8),
    st.just(b"") | line,
)


@settings(max_examples=150, deadline=None)
@given(answer, st.lists(st.integers(0, 2000), max_size=20), st.booleans())
@example(lines({"delta": "\ud83d"}, {"delta": "\ude00"}), list(range(40)), True)
@example('{"delta":"好😀"}\r\n'.encode(), list(range(40)), True)
def test_any_cut_of_the_bytes_gives_the_same_answer(
    raw: bytes, places: list[int], whole: bool
) -> None:
    expected = decode([raw], whole=whole)
    assert decode(cut(raw, places), whole=whole) == expected
    assert decode((raw[i : i + 1] for i in range(len(raw))), whole=whole) == expected


@settings(max_examples=80, deadline=None)
@given(answer, st.lists(st.integers(0, 2000), max_size=20))
def test_any_cut_gives_the_same_answer_also_where_a_line_is_too_long(
    raw: bytes, places: list[int]
) -> None:
    expected = decode([raw], max_line=24)
    assert decode(cut(raw, places), max_line=24) == expected


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=6))
def test_no_bytes_make_the_decoder_fail(parts: list[bytes]) -> None:
    found = decode(parts)
    found["content"].encode()
    found["reasoning"].encode()


@settings(max_examples=80, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1),
    st.data(),
)
def test_a_text_comes_out_as_it_was_however_it_was_encoded(whole: str, data: st.DataObject) -> None:
    """Cut into deltas anywhere, also inside a pair of surrogates, escaped or not."""
    units = whole.encode("utf-16-be", "surrogatepass")
    places = data.draw(st.lists(st.integers(0, len(units) // 2), max_size=5))
    bounds = sorted({0, len(units) // 2, *places})
    deltas = [
        units[2 * a : 2 * b].decode("utf-16-be", "surrogatepass") for a, b in pairwise(bounds)
    ]
    found = decode([lines(*({"delta": delta} for delta in deltas), USAGE)])
    if not any(delta.startswith("heartbeat") for delta in deltas):
        assert found["content"] == whole
    assert found["error"] is None


def decode_timed(events: Sequence[tuple[float, bytes]], *, whole: bool = True) -> dict[str, Any]:
    """Decode data that arrive so many seconds after those before."""
    now = 1000.0
    decoder = AnswerDecoder(clock=lambda: now)
    pieces: list[Piece] = []
    for seconds, data in events:
        now += seconds
        pieces += decoder.feed(data)
    pieces += decoder.finish(whole=whole)
    text = "".join(text for kind, text in pieces if kind == "content")
    return {"content": text, "pieces": pieces, "error": decoder.error and decoder.error.code}


def beat(text: str = "heartbeat") -> bytes:
    return lines({"delta": text})


@pytest.mark.parametrize(
    ("events", "content"),
    [
        # Before the first text.
        ([(0, beat()), (0, beat("_interval"))], "_interval"),
        ([(0, beat()), (0, beat()), (0, beat("a"))], "a"),
        ([(0, lines({"delta": ""}, {"tracedata": "x"})), (0, beat()), (0, beat("a"))], "a"),
        # Text: another line follows at once.
        ([(0, beat("a ")), (0, beat()), (0, beat("_interval"))], "a heartbeat_interval"),
        ([(0, beat("a ")), (0.9, beat()), (0, beat("_interval"))], "a heartbeat_interval"),
        ([(0, beat("a ") + beat() + beat("_interval"))], "a heartbeat_interval"),
        ([(0, beat("a")), (0, beat("heartbeat\n")), (0, beat("b"))], "aheartbeat\nb"),
        ([(0, beat("a")), (0, beat("heartbeat ")), (0, beat("of"))], "aheartbeat of"),
        ([(0, beat("a ")), (0, beat()), (9, beat("_interval"))], "a heartbeat_interval"),
        ([(0, beat("a ")), (0, beat()), (0, lines(USAGE))], "a heartbeat"),
        ([(0, beat("a ")), (0, beat()), (0, lines({"reasoning_delta": "r"}))], "a heartbeat"),
        ([(0, beat("a ")), (0, beat()), (0, lines({"tracedata": "x"}))], "a heartbeat"),
        ([(0, beat("a ")), (0, beat()), (0, lines({"detail": "failed"}))], "a heartbeat"),
        ([(0, beat("a ")), (0, beat()), (0, b"<html>\n")], "a heartbeat"),
        ([(0, beat("a ")), (0, beat()), (0, b"17\n")], "a heartbeat"),
        ([(0, beat("a ")), (0, beat()), (0, b"\n\r\n"), (0, beat("b"))], "a heartbeatb"),
        ([(0, lines({"reasoning_delta": "r"})), (0, beat()), (0, beat("_x"))], "heartbeat_x"),
        ([(0, beat("a")), (0, beat("\0heartbeat")), (0, beat("_x"))], "aheartbeat_x"),
        ([(0, beat("a")), (2, b'{"delta":'), (0, b'"b"}\n' + beat() + beat("c"))], "abheartbeatc"),
        # A keep-alive: a second of silence was before it.
        ([(0, beat("a")), (1, beat()), (0, beat("_interval"))], "a_interval"),
        ([(0, beat("a")), (30, beat()), (0, beat("b"))], "ab"),
        ([(0, beat("a")), (0.6, b"\n"), (0.6, beat()), (0, beat("b"))], "ab"),
        ([(0, beat("a")), (0.6, beat("heartbeat 1")), (0.6, beat()), (0, beat("b"))], "ab"),
        ([(0, beat("a")), (0.6, b'{"delta":"heart'), (0.6, b'beat"}\n'), (0, beat("b"))], "ab"),
        # A keep-alive: one comes again.
        ([(0, beat("a")), (0, beat()), (0, beat()), (0, beat("b"))], "ab"),
        ([(0, beat("a")), (0, beat()), (0, beat()), (0, beat()), (0, beat("b"))], "ab"),
        ([(0, beat("a")), (0, beat()), (0, beat("heartbeat 2")), (0, beat("b"))], "ab"),
        ([(0, beat("a")), (2, beat()), (0, beat()), (0, beat("b"))], "ab"),
        # Behind text the word is held back again.
        ([(0, beat("a")), (2, beat()), (0, beat("b") + beat() + beat("c"))], "abheartbeatc"),
        # A keep-alive: the stream ends.
        ([(0, beat("a")), (0, beat())], "a"),
        ([(0, lines({"delta": "a"}, USAGE)), (0, beat())], "a"),
        ([(0, beat("a")), (0, beat().rstrip(b"\n"))], "a"),
        ([(0, beat("a")), (0, beat()), (0, b"\n")], "a"),
        # With digits or signs it is a keep-alive in any case.
        ([(0, beat("a")), (0, beat("heartbeat 3")), (0, beat("b"))], "ab"),
        ([(0, beat("a")), (0, beat("heartbeat_")), (0, beat("b"))], "ab"),
        ([(0, beat("a")), (0, beat("heartbeat: 12:01")), (0, beat("b"))], "ab"),
        # Never: the word with letters, in upper case, with something before it.
        ([(0, beat("a")), (5, beat("heartbeats")), (0, beat("b"))], "aheartbeatsb"),
        ([(0, beat("a")), (5, beat("Heartbeat"))], "aHeartbeat"),
        ([(0, beat("a")), (5, beat(" heartbeat"))], "a heartbeat"),
    ],
)  # fmt: skip
def test_the_bare_word_is_a_keep_alive_or_text(
    events: list[tuple[float, bytes]], content: str
) -> None:
    assert decode_timed(events)["content"] == content
    single = [
        (seconds if not at else 0.0, data[at : at + 1])
        for seconds, data in events
        for at in range(len(data))
    ]
    assert decode_timed(single)["content"] == content


def test_a_word_that_was_held_back_comes_before_what_decides_it() -> None:
    after = lines({"delta": "text", "reasoning_delta": "thought"})
    found = decode_timed([(0, beat("a ")), (0, beat()), (0, after)])
    assert found["pieces"] == [
        ("content", "a "),
        ("content", "heartbeat"),
        ("reasoning", "thought"),
        ("content", "text"),
    ]


def test_a_line_of_too_many_values_is_skipped_and_no_keep_alive() -> None:
    values = b'{"x":[' + b"0," * 200_000 + b"0]}\n"
    found = decode_timed([(0, beat("a ")), (0, beat()), (0, values), (0, beat("b"))])
    assert (found["content"], found["error"]) == ("a heartbeatb", None)


@pytest.mark.parametrize(
    ("last", "content", "error"),
    [
        (b"", "a ", "upstream_truncated"),
        (b'{"delta": "b', "a heartbeat", "upstream_truncated"),
        (b'{"detail": "failed"}\n', "a heartbeat", "upstream_error"),
    ],
)
def test_a_stream_may_break_while_the_word_is_held_back(
    last: bytes, content: str, error: str
) -> None:
    found = decode_timed(
        [(0, beat("a ")), (0, beat()), *([(0, last)] if last else [])], whole=False
    )
    assert (found["content"], found["error"]) == (content, error)


def test_the_word_with_escaped_letters_is_the_same() -> None:
    escaped = b'{"delta":"\\u0068eartbeat"}\n'
    assert decode_timed([(0, escaped), (0, beat("b"))])["content"] == "b"
    assert decode_timed([(0, beat("a")), (2, escaped), (0, beat("b"))])["content"] == "ab"
    assert decode_timed([(0, beat("a")), (0, escaped), (0, beat("b"))])["content"] == "aheartbeatb"


NO_ERROR = None
BROKEN = ["UpstreamError", 502, "upstream_truncated"]
INVALID = ["UpstreamError", 502, "upstream_invalid_response"]
FAILED = ["UpstreamError", 502, "upstream_error"]


@pytest.mark.parametrize(
    ("raw", "content", "error"),
    [
        # Heartbeats: only when they are the whole of a delta.
        (lines({"delta": "heartbeat"}, {"delta": "a"}), "a", NO_ERROR),
        (lines({"delta": "a"}, {"delta": "heartbeat 3"}, {"delta": "b"}), "ab", NO_ERROR),
        (lines({"delta": "heartbeat\n"}, {"delta": "heartbeat: 12:01"}, {"delta": "b"}), "b", None),
        (lines({"delta": "heartbeat..."}, {"delta": "heartbeat_7"}, {"delta": "b"}), "b", None),
        (lines({"delta": "heartbeat of the city"}), "heartbeat of the city", NO_ERROR),
        (lines({"delta": "heartbeats"}), "heartbeats", NO_ERROR),
        (lines({"delta": "heartbeat 心跳"}), "heartbeat 心跳", NO_ERROR),
        (lines({"delta": "the heartbeat"}), "the heartbeat", NO_ERROR),
        (lines({"delta": "Heartbeat"}), "Heartbeat", NO_ERROR),
        (lines({"delta": "heartbeat"}, {"delta": "heartbeat"}), "", INVALID),
        # Padding.
        (lines({"delta": "\0\0\n\n"}, {"delta": "\0a\0"}), "a", NO_ERROR),
        (lines({"delta": "\ufeff"}, {"delta": "\ufeffa\n"}), "a\n", NO_ERROR),
        (lines({"delta": "\n\n"}, {"delta": "a"}), "\n\na", NO_ERROR),
        (lines({"delta": "\0\0\n\n"}), "", INVALID),
        (b"\xef\xbb\xbf" + lines({"delta": "a"}), "a", NO_ERROR),
        (lines(b'\0\0{"delta":"a"}\0'), "a", NO_ERROR),
        (lines(b"\0\0\0", {"delta": "a"}), "a", NO_ERROR),
        # Lines.
        (b'{"delta":"a"}\r\n\r\n{"delta":"b"}\r\n', "ab", NO_ERROR),
        (b'\n\n  \n{"delta":"a"}\n\n\n', "a", NO_ERROR),
        (b'{"delta":"a"}\n{"delta":"b"}', "ab", NO_ERROR),
        (b'  {"delta" : "a"}\t\n', "a", NO_ERROR),
        (lines({"delta": "a"}, b'{"delta":"lost', {"delta": "b"}), "ab", NO_ERROR),
        (lines({"delta": "a"}, b"<html>502</html>", {"delta": "b"}), "ab", NO_ERROR),
        (lines({"delta": "a"}, b'data: {"delta":"x"}', {"delta": "b"}), "ab", NO_ERROR),
        (lines({"delta": "a"}, "text", 1, None, [], True, {"delta": "b"}), "ab", NO_ERROR),
        (lines(5, {"delta": "a"}), "a", NO_ERROR),
        (lines(b'{"delta":"a\xff"}'), "a\ufffd", NO_ERROR),
        (lines(b'{"delta":"a","n":NaN}'), "a", NO_ERROR),
        (lines({"delta": "a"}, b"[" * 100_000, {"delta": "b"}), "ab", NO_ERROR),
        (b"<html><body>502</body></html>\n", "", INVALID),
        (b"<html>\n" + lines({"delta": "a"}), "", INVALID),
        (b"\n\r\n<html>\n", "", INVALID),
        (b"upstream connect error", "", INVALID),
        (b"", "", INVALID),
        (b"\n\n", "", INVALID),
        (b"{}\n", "", INVALID),
        (b'{"delta":"a"}\n{"delta":"b', "a", BROKEN),
        (b'{"delta":"a', "", BROKEN),
        # Members.
        (lines({"delta": None}, {"delta": "a", "usage": None, "tracedata": None}), "a", NO_ERROR),
        (lines({"delta": 5}, {"delta": ["x"]}, {"delta": {"a": "x"}}, {"delta": "a"}), "a", None),
        (lines({"delta": "a", "error": None, "detail": "", "status_code": 0}), "a", NO_ERROR),
        (lines({"delta": "a", "status_code": 200, "msg": "ok"}), "a", NO_ERROR),
        (lines({"delta": "a", "finish_reason": None}, {"finish_reason": "stop"}), "a", NO_ERROR),
        (lines({"answer": "x"}, {"delta": "a", "unknown": {"delta": "x"}}), "a", NO_ERROR),
        # Surrogates.
        (lines({"delta": "a\ud83d"}, {"delta": "\ude00b"}), "a😀b", NO_ERROR),
        (lines({"delta": "\ud83d"}, {"delta": "heartbeat"}, {"delta": "\ude00"}), "😀", NO_ERROR),
        (lines({"delta": "a\ud83d"}, {"delta": "heartbeat"}, {"delta": "\ude00"}), "a😀", NO_ERROR),
        (lines({"delta": "\ud83d"}, {"reasoning_delta": "r"}, {"delta": "\ude00"}), "😀", None),
        (lines({"delta": "a\ud83d"}, {"delta": "b"}), "a\ufffdb", NO_ERROR),
        (lines({"delta": "\ude00b"}), "\ufffdb", NO_ERROR),
        (lines({"delta": "a\ud83d"}), "a\ufffd", NO_ERROR),
        (lines({"delta": "\ud83d"}), "\ufffd", NO_ERROR),
        # Errors with status 200.
        (lines({"detail": "Token time expired"}), "", FAILED),
        (lines({"detail": [{"loc": ["body"]}]}), "", FAILED),
        (lines({"error": {"message": "x"}}), "", FAILED),
        (lines({"error": "x"}), "", FAILED),
        (lines({"msg": "x", "data": ""}), "", FAILED),
        (lines({"status_code": 500, "msg": "x", "data": ""}), "", FAILED),
        (
            lines({"status_code": 429, "msg": "x"}),
            "",
            ["RateLimited", 429, "upstream_rate_limited"],
        ),
        (lines({"status_code": 401}), "", ["UpstreamUnauthorized", 502, "upstream_error"]),
        (lines({"status_code": 504}), "", ["UpstreamTimeout", 504, "upstream_timeout"]),
        (lines({"delta": "a"}, {"error": "x"}, {"delta": "b"}), "a", FAILED),
        (lines({"delta": "a"}, {"delta": "b", "detail": "x"}, {"delta": "c"}), "ab", FAILED),
        (lines({"delta": "a"}, {"detail": "x"}, b"<html>", USAGE), "a", FAILED),
    ],
)
def test_each_trap(raw: bytes, content: str, error: list[Any] | None) -> None:
    for parts in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        if len(parts) < 1000:
            found = decode(parts)
            assert (found["content"], found["error"]) == (content, error)


@pytest.mark.parametrize(
    ("member", "content", "reasoning"),
    [
        ({"reasoning_delta": "r"}, "", "r"),
        ({"thinking_delta": "t"}, "", "t"),
        ({"delta": "", "reasoning_delta": "r"}, "", "r"),
        ({"delta": "a", "reasoning_delta": "r", "thinking_delta": "t"}, "a", "rt"),
        ({"reasoning_delta": "heartbeat"}, "", "heartbeat"),
        ({"reasoning_delta": "\0", "thinking_delta": None, "delta": "a"}, "a", ""),
    ],
)
def test_every_member_of_a_line_is_looked_at(
    member: dict[str, Any], content: str, reasoning: str
) -> None:
    found = decode([lines(member, USAGE)])
    assert (found["content"], found["reasoning"]) == (content, reasoning)


@pytest.mark.parametrize(
    ("members", "usage"),
    [
        ([USAGE], [9, 2]),
        ([{"usage": {"input_tokens": "9", "output_tokens": "2"}}], [9, 2]),
        ([{"usage": {"input_tokens": 0, "output_tokens": 0}}], [0, 0]),
        ([USAGE, {"delta": "late"}], [9, 2]),
        ([{**USAGE, "tracedata": "t"}, {"usage": None}], [9, 2]),
        ([USAGE, {"usage": {"input_tokens": 9, "output_tokens": 5}}], [9, 5]),
        ([USAGE, {"usage": {"input_tokens": 9}}], [9, 2]),
        ([{"usage": None}], None),
        ([{"usage": {}}], None),
        ([{"usage": {"output_tokens": 2}}], None),
        ([{"usage": {"input_tokens": "nine", "output_tokens": 2}}], None),
        ([{"usage": {"input_tokens": "", "output_tokens": 2}}], None),
        ([{"usage": {"input_tokens": -1, "output_tokens": 2}}], None),
        ([{"usage": {"input_tokens": True, "output_tokens": 2}}], None),
        ([{"usage": {"input_tokens": "9" * 5000, "output_tokens": 2}}], None),
        ([{"usage": {"input_tokens": "²", "output_tokens": 2}}], None),
        ([{"usage": [9, 2]}], None),
        ([], None),
    ],
)
def test_token_counts_in_every_form(members: list[Any], usage: list[int] | None) -> None:
    found = decode([lines({"delta": "a"}, *members)])
    assert (found["usage"], found["error"]) == (usage, None)


def test_the_trace_id_is_kept() -> None:
    assert decode([lines({"delta": "a"}, {"tracedata": "tr-1", **USAGE})])["trace"] == "tr-1"
    assert decode([lines({"tracedata": "tr-1"}, {"delta": "a"})])["trace"] == "tr-1"


@pytest.mark.parametrize(
    ("raw", "whole", "error"),
    [
        (lines({"delta": "a"}), True, None),
        (lines({"delta": "a"}), False, BROKEN),
        (lines({"delta": "a"}, USAGE), False, None),
        (lines({"delta": "a"}, {"finish_reason": "stop"}), False, None),
        (lines({"delta": "a"}, {"tracedata": "t"}), False, BROKEN),
        (lines(USAGE), True, None),
        (b"", False, BROKEN),
        (lines({"delta": "a"}) + b'{"usa', False, BROKEN),
        (lines({"delta": "a"}) + b'{"usa', True, BROKEN),
    ],
)
def test_an_end_must_be_proved(raw: bytes, whole: bool, error: list[Any] | None) -> None:
    assert decode([raw], whole=whole)["error"] == error


def test_lines_that_are_no_objects_are_counted() -> None:
    assert decode([lines({"delta": "a"}, b"{", 5, b"", b"<p>", {"delta": "b"})])["skipped"] == 3


def test_pieces_come_out_as_soon_as_their_line_is_whole() -> None:
    decoder = AnswerDecoder()
    assert decoder.feed(b'{"delta":"a"}\n{"delta":"b') == [("content", "a")]
    assert decoder.feed(b'"}') == []
    assert decoder.feed(b"\n") == [("content", "b")]


def test_a_line_of_three_megabytes_in_small_parts_is_read_whole() -> None:
    long = "好😀a" * 375_000
    raw = lines({"delta": "before "}, {"delta": long}, {"delta": " after"})
    assert len(raw) > 3_000_000
    parts = (raw[i : i + 4096] for i in range(0, len(raw), 4096))
    assert decode(parts)["content"] == f"before {long} after"


@pytest.mark.parametrize("end", [b"\n", b""], ids=["whole", "without a line end"])
def test_a_long_line_comes_in_parts_and_its_error_with_the_last(end: bytes) -> None:
    texts = {"reasoning_delta": "r" * 20_000, "delta": "d" * 40_000}
    raw = lines({"delta": "a"}) + json.dumps({**texts, "error": "x"}).encode() + end
    decoder = AnswerDecoder()
    parts = [decoder.feed(raw)]
    if not end:
        parts.append(decoder.finish(whole=True))
    while decoder.has_parts:
        assert decoder.error is None
        parts.append(decoder.next_part())
    assert decoder.error is not None
    sizes = [sum(len(text) for _, text in part) for part in parts]
    assert len(sizes) > 3
    assert max(sizes) < 33_000
    everything = "".join(text for part in parts for _, text in part)
    assert everything == "a" + "r" * 20_000 + "d" * 40_000


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_is_too_long_is_refused_however_it_arrives(size: int, end: bytes) -> None:
    raw = lines({"delta": "a"}) + b'{"delta":"' + b"x" * 200 + b'"}' + end
    found = decode((raw[i : i + size] for i in range(0, len(raw), size)), max_line=100)
    assert (found["content"], found["error"]) == ("a", INVALID)


def test_a_line_of_just_the_limit_is_read() -> None:
    raw = b'{"delta":"' + b"x" * 88 + b'"}\n'
    assert len(raw) == 101
    for size in (1, 50, 101):
        found = decode((raw[i : i + size] for i in range(0, 101, size)), max_line=100)
        assert (len(found["content"]), found["error"]) == (88, None)


def test_nothing_comes_out_after_an_error() -> None:
    decoder = AnswerDecoder()
    decoder.feed(lines({"error": "x"}))
    first: GatewayError | None = decoder.error
    assert first is not None
    assert decoder.feed(lines({"delta": "a"}, USAGE)) == []
    assert decoder.finish(whole=True) == []
    assert decoder.error is first
    assert decoder.usage is None


@pytest.mark.parametrize("word", ["secret", "eyJhbGciOi", "<html>", "u_demo"])
def test_no_text_of_the_upstream_is_in_an_error(word: str) -> None:
    for raw in (
        lines({"detail": word}),
        lines({"error": {"message": word}}),
        lines({"status_code": 400, "msg": word}),
        word.encode(),
        lines({"delta": "a"}) + word.encode(),
    ):
        decoder = AnswerDecoder()
        decoder.feed(raw)
        decoder.finish(whole=True)
        assert decoder.error is not None
        assert word not in decoder.error.message


def test_usage_is_a_plain_value() -> None:
    assert UpstreamUsage(9, 2) == UpstreamUsage(input_tokens=9, output_tokens=2)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.ndjson")), ids=lambda file: file.stem)
def test_whole_answers_are_golden(file: Path) -> None:
    raw = file.read_bytes()
    expected = json.loads(file.with_suffix(".json").read_text("utf-8"))
    assert decode([raw]) == expected
    assert decode(raw[i : i + 3] for i in range(0, len(raw), 3)) == expected


def test_there_are_golden_answers() -> None:
    assert len(list(GOLDEN.glob("*.ndjson"))) >= 6
