"""Writes log lines to stderr and a file, each with a bounded queue and a thread of its own.

A reader that stops, or a disk that hangs, must not stop a request. Lines that are written
together also cost a fraction of lines written one by one.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO

_MAX_QUEUED = 4 * 1024 * 1024  # characters that may wait for one sink
_BATCH_DELAY = 0.02  # seconds


class LogTarget(Protocol):
    """Describes a stream or a file that lines are written to."""

    def write(self, text: str) -> None:
        """Write whole lines. Raises OSError or ValueError when that fails."""
        ...


class LogSink:
    """Holds the lines for one target until a thread writes them; `put` never waits.

    lost: renders the line that says how many lines were lost. It is written when the target
        takes lines again.
    """

    def __init__(self, target: LogTarget, lost: Callable[[int], str]) -> None:
        self._target = target
        self._lost = lost
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._lines: list[str] = []
        self._size = 0
        self._dropped = 0
        self._busy = False
        self._closing = False
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: str) -> None:
        """Add a line to the queue; drop and count it when too many lines wait."""
        with self._lock:
            if self._size + len(line) > _MAX_QUEUED:
                self._dropped += 1
                return
            self._lines.append(line)
            self._size += len(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until all lines are written, at most `timeout` seconds; return whether they are."""
        deadline = time.monotonic() + timeout
        while self._lines or self._busy:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def close(self, timeout: float) -> bool:
        """Write the queued lines and end the thread; return whether all lines are written.

        timeout: the longest wait, in seconds.
        """
        self._closing = True
        self._wake.set()
        return self.flush(timeout)

    def _run(self) -> None:
        while not (self._closing and not self._lines):
            self._wake.wait()
            if not self._closing:
                time.sleep(_BATCH_DELAY)
            self._busy = True
            self._wake.clear()
            with self._lock:
                lines, self._lines, self._size = self._lines, [], 0
                dropped, self._dropped = self._dropped, 0
            self._write(lines, dropped)
            self._busy = False

    def _write(self, lines: list[str], dropped: int) -> None:
        if dropped:
            lines = [*lines, self._lost(dropped)]
        try:
            if lines:
                self._target.write("\n".join([*lines, ""]))
        except (OSError, ValueError):
            with self._lock:  # counted, and reported when a write succeeds again
                self._dropped += len(lines) - bool(dropped) + dropped


class StreamTarget:
    """Writes to the descriptor of a stream such as stderr, without the stream's buffer.

    The buffer would be locked while a write hangs.
    shared: whether other processes write to the stream too. Each write then has at most
        PIPE_BUF bytes, so that lines of several processes do not mix. It needs more calls.
    """

    def __init__(self, stream: TextIO, *, shared: bool = False) -> None:
        self._stream = stream
        self._shared = shared

    def write(self, text: str) -> None:
        """Write whole lines. Raises OSError or ValueError when that fails."""
        try:
            descriptor = self._stream.fileno()
        except OSError:  # a stream of a test may have none
            self._stream.write(text)
        else:
            raw = text.encode("utf-8", "backslashreplace")
            for part in _pipe_parts(raw) if self._shared else [raw]:
                _write_all(descriptor, part)


class FileTarget:
    """Writes to the end of a file, and opens it again after logrotate has moved it away.

    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._identity = (0, 0)
        self._open()

    def write(self, text: str) -> None:
        """Write whole lines. Raises OSError when the file cannot be opened or written."""
        if self._descriptor is None or self._moved():
            self._open()
        assert self._descriptor is not None
        _write_all(self._descriptor, text.encode("utf-8", "backslashreplace"))

    def reopen(self) -> None:
        """Open the file again at the next write, even if it was not moved."""
        self._identity = (0, 0)

    def close(self) -> None:
        """Close the file; a write opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _moved(self) -> bool:
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return True
        return (now.st_dev, now.st_ino) != self._identity

    def _open(self) -> None:
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o640)
        now = os.fstat(self._descriptor)
        self._identity = now.st_dev, now.st_ino


def _pipe_parts(raw: bytes) -> Iterator[bytes]:
    """Split a text into whole lines, as many as a pipe takes in one write.

    A line that is longer than that is a part by itself.
    """
    begin = 0
    while len(raw) - begin > select.PIPE_BUF:
        end = raw.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1
        end = end or raw.find(b"\n", begin) + 1 or len(raw)
        yield raw[begin:end]
        begin = end
    yield raw[begin:]


def _write_all(descriptor: int, raw: bytes) -> None:
    data = memoryview(raw)
    while data:
        data = data[os.write(descriptor, data) :]
