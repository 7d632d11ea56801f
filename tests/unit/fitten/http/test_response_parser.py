"""Reading HTTP responses: every framing, every cut, and nothing that has two meanings."""

from __future__ import annotations

import contextlib
import gzip
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.http.response_parser import MAX_HEAD, BadResponse, ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(*parts: bytes) -> tuple[bytes, ResponseParser]:
    parser = ResponseParser()
    return b"".join(parser.feed(part) for part in parts), parser


WHOLE = {
    "chunked": (CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    "upper case, an extension, zeros": (
        CHUNKED + b"00A;name=value\r\n0123456789\r\n000\r\n\r\n",
        b"0123456789",
    ),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", b"x"),
    "line ends inside a chunk": (CHUNKED + b"6\r\n\r\n0\r\n\r\r\n0\r\n\r\n", b"\r\n0\r\n\r"),
    "counted": (OK + b"content-length:  5 \r\n\r\nhello", b"hello"),
    "counted, none": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "after an interim response": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nok",
        b"ok",
    ),
    "a status without a reason": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", b"x"),
}


@pytest.mark.parametrize(("raw", "body"), WHOLE.values(), ids=WHOLE)
def test_a_response_is_read_whole_and_its_connection_can_be_used_again(
    raw: bytes, body: bytes
) -> None:
    assert read(raw)[0] == body
    got, parser = read(*(raw[i : i + 1] for i in range(len(raw))))
    assert got == body
    assert parser.complete
    assert parser.framed
    assert parser.reusable
    assert parser.status in (200, 204)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    closing=st.sampled_from(["chunked", "length", "close"]),
)
def test_any_cut_gives_the_same_body(chunks: list[bytes], cuts: list[int], closing: str) -> None:
    body = b"".join(chunks)
    if closing == "chunked":
        raw = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    elif closing == "length":
        raw = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        raw = OK + b"Connection: close\r\n\r\n" + body
    marks = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    got, parser = read(*(raw[a:b] for a, b in pairwise(marks)))
    assert got == body
    assert parser.complete == (closing != "close")
    assert parser.feed_eof()


@pytest.mark.parametrize("end", range(len(CHUNKED), len(WHOLE["chunked"][0])))
def test_a_chunked_body_cut_anywhere_is_not_whole(end: int) -> None:
    _, parser = read(WHOLE["chunked"][0][:end])
    assert not parser.feed_eof()


REFUSED = {
    "no HTTP": b"SSH-2.0-x\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching\r\n\r\n",
    "a line that is no header": OK + b"hello\r\n\r\n",
    "a blank before the colon": OK + b"Content-Length : 5\r\n\r\n",
    "a folded header": OK + b"A: b\r\n c\r\n\r\n",
    "a bare line feed in a header": OK + b"A: b\nContent-Length: 1\r\n\r\n",
    "NUL": OK + b"A: \0\r\n\r\n",
    "both framings": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a negative length": OK + b"Content-Length: -5\r\n\r\n",
    "a length with a plus": OK + b"Content-Length: +5\r\n\r\n",
    "an endless length": OK + b"Content-Length: 9999999999999999999\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "brotli": OK + b"Content-Encoding: br\r\n\r\n",
    "a chunk without an end": CHUNKED + b"2\r\nabc\r\n",
    "a size with a sign": CHUNKED + b"+2\r\nab\r\n",
    "a size in Python's spelling": CHUNKED + b"0x2\r\nab\r\n",
    "a size with an underscore": CHUNKED + b"1_0\r\n",
    "an endless size": CHUNKED + b"fffffffff\r\n",
    "no size": CHUNKED + b"\r\n",
    "an endless line of a chunk": CHUNKED + b"1;" + b"x" * 300,
    "an endless head": OK + b"A: " + b"x" * MAX_HEAD,
    "endless trailers": CHUNKED + b"0\r\nA: " + b"x" * 9000,
    "broken gzip": OK + b"Content-Encoding: gzip\r\n\r\nhello",
    "a bomb": OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(3_000_000)),
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_what_can_be_read_in_two_ways_or_without_end_is_refused(raw: bytes) -> None:
    with pytest.raises(BadResponse):
        read(raw)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read_but_never_crash(raw: bytes) -> None:
    for begin in (b"", OK, CHUNKED):
        with contextlib.suppress(BadResponse):
            read(begin + raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\n\r\nmore",
    ],
)
def test_a_connection_that_is_done_or_sent_too_much_is_not_used_again(raw: bytes) -> None:
    body, parser = read(raw)
    assert body == b"ok"
    assert parser.complete
    assert not parser.reusable


def test_a_compressed_body_is_read_at_any_cut_and_its_early_end_is_seen() -> None:
    packed = gzip.compress(b"hello " * 50)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    raw = head % len(packed) + packed
    got, parser = read(*(raw[i : i + 7] for i in range(0, len(raw), 7)))
    assert got == b"hello " * 50
    assert parser.complete
    assert not parser.cut_short
    _, parser = read(head % (len(packed) - 9) + packed[:-9])
    assert parser.complete
    assert parser.cut_short
