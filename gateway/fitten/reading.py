"""Reading a response's body in fewer steps than aiohttp takes."""

from __future__ import annotations

import aiohttp


class BulkReader(aiohttp.StreamReader):
    """A body's reader that gives out all that has arrived in one go.

    For each HTTP chunk aiohttp's own resumes the connection, paused or not, which for a
    burst of small chunks costs more than all else that is done with them. This one does it
    once a read, and only where it was paused; back-pressure is as before. It leans on the
    reader's insides, so tests of ours fail should a new aiohttp change them.
    """

    __slots__ = ()

    @classmethod
    def take_over(cls, response: aiohttp.ClientResponse) -> None:
        """Have this response's body read so."""
        if type(response.content) is aiohttp.StreamReader:  # there is a body
            response.content.__class__ = cls

    def _read_nowait(self, n: int) -> bytes:
        buffer = self._buffer
        if n != -1 or self._buffer_offset or not buffer:
            return super()._read_nowait(n)
        self._timer.assert_timeout()
        data = b"".join(buffer) if len(buffer) > 1 else buffer[0]
        buffer.clear()
        self._size -= len(data)
        self._cursor += len(data)
        if self._http_chunk_splits:  # where chunks ended; only the last is looked at again
            last = self._http_chunk_splits[-1]
            self._http_chunk_splits.clear()
            self._http_chunk_splits.append(last)
        protocol = self._protocol
        if protocol._reading_paused or protocol._buffer_paused:
            protocol.resume_reading()
        return data
