"""Bytes of an HTTP/1.1 response -> its head and its body (RFC 9112). No I/O.

Stricter than most: what two readers could understand differently is refused, since the
connection goes back to a pool.
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
# Nearly every chunk is a small one, and looking it up costs a sixth of reading the number.
_SIZES = {b"%x" % size: size for size in range(1, 4096)}


class BadResponse(Exception):
    """The bytes are no response, or not one that is safe to read."""


class ResponseParser:
    """One response's bytes in, its body's bytes out.

    status, headers: once the head is there; names in lower case, of a repeated header all
        values, joined by commas. framed: whether the body's end is announced rather than
        the connection's close. complete: whether all is there. reusable: whether the
        connection may carry another request after it.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.framed = False
        self.complete = False
        self.reusable = False
        self._rest = b""
        self._left = 0  # bytes of a counted body, or of the chunk in hand, still to come
        self._in_chunk = False  # its last line end is still to come
        self._in_trailers = False
        # A function, since a bound method would be a circle for the collector to find.
        self._body: Callable[[ResponseParser, bytes], bytes] = ResponseParser._until_close
        self._inflate: _Decompressor | None = None

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in what arrived. Raises BadResponse."""
        if self.status is None:
            rest = self._head(self._rest + data)
            if rest is None:
                return b""
            data = rest
        if self.complete:
            if data:
                self.reusable = False  # nobody asked for more
            return b""
        body = self._body(self, data)
        return self._inflate.feed(body) if self._inflate else body

    @property
    def cut_short(self) -> bool:
        """Whether all is there, but the compressed text in it has no end."""
        return self.complete and self._inflate is not None and not self._inflate.ended

    def feed_eof(self) -> bool:
        """The connection was closed; whether the response is whole."""
        if self.status is not None and not self.framed:
            self.complete = self._inflate is None or self._inflate.ended
        self.reusable = False
        return self.complete

    def _head(self, data: bytes) -> bytes | None:
        """Read the head and return what follows it; None when it is not all there yet."""
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > MAX_HEAD:
                if len(data) > MAX_HEAD:
                    raise BadResponse("a head beyond all measure")
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
                raise BadResponse("an upgrade that nobody asked for")
            # Interim responses say nothing that matters here.
        self._rest = b""
        self.headers = headers = _fields(lines[1:])
        self.status = status
        options = headers.get(b"connection", b"").lower()
        self.reusable = line[1] == b"1" and b"close" not in options
        self._choose_body(status, headers)
        return data

    def _choose_body(self, status: int, headers: dict[bytes, bytes]) -> None:
        """RFC 9112, 6.3."""
        if status in (204, 304):
            self.framed = self.complete = True
            return
        coding = headers.get(b"transfer-encoding")
        length = headers.get(b"content-length")
        if coding is not None:
            if coding.lower() != b"chunked" or length is not None:
                raise BadResponse("a framing that can be read in two ways")
            self.framed = True
            self._body = ResponseParser._chunked
        elif length is not None:
            if not length.isdigit() or len(length) > 15:
                raise BadResponse("a length that is no number")
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
            self._inflate = _Decompressor()
        elif encoding != b"identity":
            raise BadResponse("an encoding that nobody asked for")

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
        """RFC 9112, 7.1; the extensions of chunks and the trailers are read over."""
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
                        raise BadResponse("the line of a chunk beyond all measure")
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
            # The end of the data lies within the chunk, or within its line end.
            parts.append(data[start:stop])
            self._in_chunk = True
            self._left = max(0, stop - size)
            self._rest = data[stop:]
            break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _trailers(self, data: bytes) -> None:
        if data.startswith(b"\r\n"):
            end = 2
        else:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > _MAX_TRAILERS:
                    raise BadResponse("trailers beyond all measure")
                self._rest = data
                return
        if len(data) > end:
            self.reusable = False
        self.complete = True


class _Decompressor:
    """A body that is compressed; `ended` says that it came to its own end."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """What the data holds. Raises BadResponse for what is no such data, or a bomb."""
        try:
            out = self._inflate.decompress(data, _INFLATED_AT_ONCE)
        except zlib.error:
            raise BadResponse("a compressed body that is broken") from None
        if self._inflate.unconsumed_tail:
            raise BadResponse("a compressed body that grows beyond all measure")
        self.ended = self._inflate.eof
        return out


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise BadResponse("a header that is none")
        name, value = name.lower(), value.strip(b" \t")
        known = headers.get(name)
        headers[name] = value if known is None else b"%b, %b" % (known, value)
    return headers


def _chunk_size(line: bytes) -> int:
    match = _HEX.fullmatch(line)
    if match is None:
        raise BadResponse("the size of a chunk that is no number")
    return int(match[1], 16)
