"""Parses the bytes of an HTTP/1.1 response into head and body (RFC 9112). No I/O.

It is stricter than most parsers: a response that two parsers could read differently is refused,
since the connection is used again.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

MAX_HEAD = 32 * 1024
_MAX_CHUNK_LINE = 256
_MAX_TRAILERS = 8 * 1024
_INFLATED_AT_ONCE = 1024 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n\0]*)?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\0\r\n]")
_HEX = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n\0]*)?")
# Nearly every chunk is small, and a look-up takes a sixth of the time of parsing the number.
_SIZES = {b"%x" % size: size for size in range(1, 4096)}


class BadResponse(Exception):
    """Reports that the bytes are not a response, or not one that is safe to read."""


class ResponseParser:
    """Parses one response: takes its bytes, returns the bytes of its body.

    status: None until the head is complete.
    headers: names in lower case; the values of a repeated header are joined by commas.
    framed: whether the body has a length or is chunked. Otherwise it ends when the connection
        closes.
    complete: whether the whole response has arrived.
    reusable: whether the connection may be used for another request afterwards.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.framed = False
        self.complete = False
        self.reusable = False
        self._rest = b""
        self._left = 0  # bytes still to come, of a body with a length or of the current chunk
        self._in_chunk = False  # the end of the current chunk is still to come
        self._in_trailers = False
        # A function, since a bound method would be a reference cycle.
        self._body: Callable[[ResponseParser, bytes], bytes] = ResponseParser._until_close
        self._decompressor: _Decompressor | None = None

    def feed(self, data: bytes) -> bytes:
        """Parse data that arrived; return the bytes of the body in them. Raises BadResponse."""
        if self.status is None:
            rest = self._head(self._rest + data)
            if rest is None:
                return b""
            data = rest
        if self.complete:
            if data:
                self.reusable = False  # these data belong to no response
            return b""
        body = self._body(self, data)
        return self._decompressor.feed(body) if self._decompressor else body

    @property
    def cut_short(self) -> bool:
        """Return whether the body is complete, but the compressed data in it are not."""
        return self.complete and self._decompressor is not None and not self._decompressor.ended

    def feed_eof(self) -> bool:
        """Record that the connection was closed; return whether the response is complete."""
        if self.status is not None and not self.framed:
            self.complete = self._decompressor is None or self._decompressor.ended
        self.reusable = False
        return self.complete

    def _head(self, data: bytes) -> bytes | None:
        """Parse the head and return what follows it; None while the head is incomplete."""
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > MAX_HEAD:
                if len(data) > MAX_HEAD:
                    raise BadResponse("a head that is too large")
                self._rest = data
                return None
            head, data = data[:end], data[end + 4 :]
            lines = head.split(b"\r\n")
            line = _STATUS_LINE.fullmatch(lines[0])
            if line is None:
                raise BadResponse("no status line")
            status = int(line[2])
            if status >= 200:
                break
            if status == 101:
                raise BadResponse("an upgrade that was not requested")
            # Interim responses (1xx) are skipped.
        self._rest = b""
        self.headers = headers = _parse_headers(lines[1:])
        self.status = status
        options = headers.get(b"connection", b"").lower()
        self.reusable = line[1] == b"1" and b"close" not in options
        self._choose_body(status, headers)
        return data

    def _choose_body(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Choose how the body is parsed (RFC 9112, 6.3)."""
        if status in (204, 304):
            self.framed = self.complete = True
            return
        coding = headers.get(b"transfer-encoding")
        length = headers.get(b"content-length")
        if coding is not None:
            if coding.lower() != b"chunked" or length is not None:
                raise BadResponse("two different ways to find the end of the body")
            self.framed = True
            self._body = ResponseParser._chunked
        elif length is not None:
            if not length.isdigit() or len(length) > 15:
                raise BadResponse("a length that is not a number")
            self.framed = True
            self._left = int(length)
            self._body = ResponseParser._counted
        else:
            self.reusable = False
        if length is not None and not self._left:
            self.complete = True
            return
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding in (b"gzip", b"x-gzip", b"deflate"):
            self._decompressor = _Decompressor()
        elif encoding != b"identity":
            raise BadResponse("an encoding that was not requested")

    def _until_close(self, data: bytes) -> bytes:
        return data

    def _counted(self, data: bytes) -> bytes:
        if len(data) > self._left:
            data = data[: self._left]
            self.reusable = False
        self._left -= len(data)
        self.complete = not self._left
        return data

    def _chunked(self, data: bytes) -> bytes:
        """Parse chunks (RFC 9112, 7.1); chunk extensions and trailers are ignored."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if self._in_trailers:
            self._trailers(data)
            return b""
        parts: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._in_chunk:
                start, stop = at, at + self._left
            else:
                end = data.find(b"\r\n", at, at + _MAX_CHUNK_LINE)
                if end < 0:
                    if size - at >= _MAX_CHUNK_LINE:
                        raise BadResponse("a chunk size line that is too long")
                    self._rest = data[at:]
                    break
                line = data[at:end]
                length = _SIZES.get(line) or _chunk_size(line)
                start = end + 2
                if not length:
                    self._in_trailers = True
                    self._trailers(data[start:])
                    break
                stop = start + length
            if stop + 2 <= size:
                if data[stop : stop + 2] != b"\r\n":
                    raise BadResponse("a chunk without an end")
                parts.append(data[start:stop])
                self._in_chunk = False
                at = stop + 2
                continue
            # The data end within the chunk, or within the line end behind it.
            parts.append(data[start:stop])
            self._in_chunk = True
            self._left = max(0, stop - size)
            self._rest = data[stop:]
            break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _trailers(self, data: bytes) -> None:
        """Skip the trailers, which end the response."""
        if data.startswith(b"\r\n"):
            end = 2
        else:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > _MAX_TRAILERS:
                    raise BadResponse("trailers that are too large")
                self._rest = data
                return
        if len(data) > end:
            self.reusable = False
        self.complete = True


class _Decompressor:
    """Decompresses a body; `ended` says that the compressed data are complete."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Return the decompressed data. Raises BadResponse for bad data and for a bomb."""
        try:
            out = self._inflate.decompress(data, _INFLATED_AT_ONCE)
        except zlib.error:
            raise BadResponse("a compressed body that is broken") from None
        if self._inflate.unconsumed_tail:
            raise BadResponse("a compressed body that grows too large")
        self.ended = self._inflate.eof
        return out


def _parse_headers(lines: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise BadResponse("a line that is not a header")
        name, value = name.lower(), value.strip(b" \t")
        known = headers.get(name)
        headers[name] = value if known is None else b"%b, %b" % (known, value)
    return headers


def _chunk_size(line: bytes) -> int:
    match = _HEX.fullmatch(line)
    if match is None:
        raise BadResponse("a chunk size that is not a number")
    return int(match[1], 16)
