"""Requests that are not quite HTTP/1.1, made by rule from RFC 9110 and 9112."""

from __future__ import annotations

from collections.abc import Iterator

from tests.integration.peer import CHAT, chat_body
from tests.support import KEY

BODY = chat_body("[[say]]")
HEALTH = b"GET /health HTTP/1.1\r\n"
HOST = b"Host: gateway\r\n"
POST = f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n".encode()
CHUNKED = POST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTROLS = [bytes([n]) for n in (*range(0x20), 0x7F)]
DELIMITERS = [bytes([n]) for n in b'"(),/:;<=>?@[\\]{} ']  # RFC 9110, 5.6.2: not in a token


def corpus() -> Iterator[tuple[str, bytes]]:
    """A name and the bytes of each."""
    for part in (_lines, _fields, _lengths, _codings, _chunks):
        yield from part()


def _lines() -> Iterator[tuple[str, bytes]]:
    for odd in CONTROLS + DELIMITERS + [b"\x80", b"\xff"]:
        yield f"method with {odd!r}", b"G%bT /health HTTP/1.1\r\n%b\r\n" % (odd, HOST)
        yield f"target with {odd!r}", b"GET /hea%blth HTTP/1.1\r\n%b\r\n" % (odd, HOST)
        yield f"version with {odd!r}", b"GET /health HTTP/1.%b1\r\n%b\r\n" % (odd, HOST)
    for target in (
        *(b"", b"?", b"#", b"health", b"\\health", b"/%", b"/%zz", b"/%c0%af", b"/../../etc"),
        *(b"//", b"///health", b"http://", b"http://[::1", b"http://a:b@c/health", b"http://g:x/"),
        *(b"/health#x", b"*", b"/\xe4\xbd\xa0", b"/" + b"a/" * 3000, b"/?" + b"&" * 7000),
    ):
        yield f"target {target[:20]!r}", b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST)
    for version in (
        *(b"HTTP/1.2", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/01.1", b"HTTP/1.10", b"HTTP/2"),
        *(b"HTTP/0.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/1.0", b"HTTP/0.0"),
        *(b"http/1.1", b"HTTPS/1.1", b"HTTP 1.1", b"ICE/1.0", b"RTSP/1.0", b"HTTP/1.1 HTTP/1.1"),
        *(b"HTTP/-1.1", b"HTTP/9" + b"9" * 500 + b".1", b""),
    ):
        yield f"version {version[:20]!r}", b"GET /health %b\r\n%b\r\n" % (version, HOST)
    yield "line ends of LF only", b"GET /health HTTP/1.1\nHost: gateway\n\n"
    yield "line ends of CR only", b"GET /health HTTP/1.1\rHost: gateway\r\r"
    yield "line ends mixed", b"GET /health HTTP/1.1\nHost: gateway\r\n\n"
    yield "two spaces", b"GET  /health  HTTP/1.1\r\n" + HOST + b"\r\n"
    yield "tabs", b"GET\t/health\tHTTP/1.1\r\n" + HOST + b"\r\n"
    yield "a space before", b" " + HEALTH + HOST + b"\r\n"
    yield "a space behind", b"GET /health HTTP/1.1 \r\n" + HOST + b"\r\n"
    yield "empty lines before", b"\r\n\r\n" + HEALTH + HOST + b"\r\n"
    yield "HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(40)
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256))
    yield "an upgrade", HEALTH + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    yield (
        "a web socket",
        (
            HEALTH
            + HOST
            + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
        ),
    )
    yield "a long method", b"A" * 9000 + b" /health HTTP/1.1\r\n" + HOST + b"\r\n"


def _fields() -> Iterator[tuple[str, bytes]]:
    for odd in CONTROLS + DELIMITERS + [b"\x80", b"\xff"]:
        yield f"name with {odd!r}", b"%b%bX-A%bB: 1\r\n\r\n" % (HEALTH, HOST, odd)
    for odd in [*CONTROLS, b"\x80", b"\xc3\xa9", b"\xff"]:
        yield f"value with {odd!r}", b"%b%bX-A: a%bb\r\n\r\n" % (HEALTH, HOST, odd)
        yield f"key with {odd!r}", POST + b"X-Api-Key: a%bb\r\n\r\n" % odd
    for line in (
        *(b": 1", b"X-A", b"X-A : 1", b" X-A: 1", b"\tX-A: 1", b"X-A:", b"X-A:1", b":", b"X-A: "),
        *(b"X-A: 1\r\n 2", b"X-A: 1\r\n\t2", b"X-A: 1\n 2", b"X-A: 1\nX-B: 2", b"X-A: 1\rX-B: 2"),
        *(b"Host: other", b"Host:", b"Host: a b", b"Host: [::", b"hOsT: gateway"),
        *(b"Connection: close, close", b"Connection: " + b"a," * 3000, b"Connection: \x00"),
        *(b"Cookie: " + b"a=b;" * 1500, b"Authorization:", b"Authorization: Bearer"),
        *(b"Upgrade: x", b"Content-Type: \xff", b"Accept: " + b"*/*," * 1500),
        *(b"Origin: null", b"Origin: \xff", b"X-Request-Id: \xf0\x9f\x98\x80"),
        *(b"Range: bytes=9-1", b"If-Modified-Since: 99 Abc 99999", b"Keep-Alive: -1"),
        *(b"X" * 8000 + b": 1", b"X: " + b"1" * 8000, b"\r\n".join([b"X: 1"] * 127)),
        *(b"\r\n".join([b"X: 1"] * 129), b"Expect: 100-continue, 100-continue", b"Trailer: Host"),
    ):
        yield f"field {line[:30]!r}", HEALTH + HOST + line + b"\r\n\r\n"
        yield (
            f"field {line[:30]!r} with a body",
            (POST + line + b"\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY),
        )
    yield "no host", HEALTH + b"\r\n"
    yield "a head without an end", HEALTH + HOST


def _lengths() -> Iterator[tuple[str, bytes]]:
    right = b"%d" % len(BODY)
    for length in (
        *(b"", b" ", b"-0", b"+" + right, b"-" + right, b"0x10", b"1e2", b"1.0", b"1_0", b"1 0"),
        *(right + b"," + right, right + b", 5", b"," + right, right + b";", b"a", b"\x00" + right),
        *(b"0" * 50 + right, b"9" * 19, b"9" * 25, b"9" * 5000, b"18446744073709551616", b"\xb2"),
        *(b"\xd9\xa5", right + b"\x0b", right + b" ", b"\t" + right, b'"' + right + b'"'),
        *(b"0", b"1", b"%d" % (len(BODY) - 1), b"%d" % (len(BODY) + 1)),
    ):
        yield f"length {length[:20]!r}", POST + b"Content-Length: %b\r\n\r\n" % length + BODY
    for first, second in ((right, right), (right, b"0"), (b"0", right), (right, b"a")):
        fields = b"Content-Length: %b\r\nContent-Length: %b\r\n\r\n" % (first, second)
        yield f"lengths {first!r} {second!r}", POST + fields + BODY
    yield "a body behind GET", HEALTH + HOST + b"Content-Length: 5\r\n\r\nabcde"
    yield "a length and a space", POST + b"Content-Length : %b\r\n\r\n" % right + BODY


def _codings() -> Iterator[tuple[str, bytes]]:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    for coding in (
        *(b"", b"identity", b"gzip", b"xchunked", b"chunked, identity", b"identity, chunked"),
        *(b"gzip, chunked", b"chunked, chunked", b"chunked,", b",chunked", b"chunked;q=1"),
        *(b"Chunked", b"CHUNKED", b" chunked", b"\x0bchunked", b"chunked\x0b", b"chunked\x00"),
        *(b'"chunked"', b"chun ked", b"\tchunked", b"chunked ", b"\r\n chunked", b"c" * 5000),
    ):
        yield f"coding {coding[:20]!r}", POST + b"Transfer-Encoding: %b\r\n\r\n" % coding + body
        fields = b"Content-Length: 5\r\nTransfer-Encoding: %b\r\n\r\n" % coding
        yield f"coding {coding[:20]!r} behind a length", POST + fields + body
        fields = b"Transfer-Encoding: %b\r\nContent-Length: 5\r\n\r\n" % coding
        yield f"coding {coding[:20]!r} before a length", POST + fields + body
    twice = b"Transfer-Encoding: chunked\r\nTransfer-Encoding: %b\r\n\r\n"
    for second in (b"chunked", b"identity", b"gzip"):
        yield f"codings chunked and {second!r}", POST + twice % second + body
    old = POST.replace(b"HTTP/1.1", b"HTTP/1.0")
    yield "chunks in HTTP/1.0", old + b"Transfer-Encoding: chunked\r\n\r\n" + body
    yield "a coding and a space", POST + b"Transfer-Encoding : chunked\r\n\r\n" + body


def _chunks() -> Iterator[tuple[str, bytes]]:
    size, end = b"%x" % len(BODY), b"0\r\n\r\n"
    for written in (
        *(b"", b" " + size, size + b" ", b"0x" + size, b"+" + size, b"-" + size, b"g", b"\x00"),
        *(b"0" * 40 + size, b"f" * 15, b"f" * 16, b"f" * 17, b"f" * 9000, size.upper(), b"_1"),
        *(size + b";", size + b";a", size + b";a=b", size + b';a="b\\"c"', size + b";a=\x00"),
        *(size + b"; a = b", size + b";a\nb", size + b";a\rb", size + b";" + b"a" * 9000),
        *(size + b"\n", b"\r\n" + size, size + b"\t", b"\xef\xbc\x95", b"1", size + b",", b"-0"),
    ):
        yield f"size {written[:20]!r}", CHUNKED + b"%b\r\n%b\r\n" % (written, BODY) + end
    chunk = b"%b\r\n%b" % (size, BODY)
    for running_app in (
        b"",
        b"\n",
        b"\r",
        b"x\r\n",
        b"\r\r\n",
        b"\n\r\n",
        b"\r\n\r\n",
        b"\x00\r\n",
    ):
        yield f"{running_app!r} behind a chunk", CHUNKED + chunk + running_app + end
    whole = CHUNKED + chunk + b"\r\n0\r\n"
    for trailer in (
        *(b"X: 1", b"X", b": 1", b"X : 1", b" X: 1", b"Content-Length: 5", b"Host: other"),
        *(b"Transfer-Encoding: chunked", b"X: \x00", b"X: 1\nY: 2", b"X: " + b"1" * 9000),
        *(b"\r\n".join([b"X: 1"] * 500), b"Authorization: Bearer x"),
    ):
        yield f"trailer {trailer[:20]!r}", whole + trailer + b"\r\n\r\n"
    yield "no last chunk", CHUNKED + chunk + b"\r\n"
    yield "no last line", whole
    yield "a last chunk of zeros", CHUNKED + chunk + b"\r\n0000\r\n\r\n"
    yield "LF only", CHUNKED + b"%b\n%b\n0\n\n" % (size, BODY)
    yield "nothing but the last chunk", CHUNKED + end
