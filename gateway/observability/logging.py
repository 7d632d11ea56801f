"""Configures structured logging to stderr and a file; secrets are masked in the finished line."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import structlog

from gateway.config.settings import LogSettings
from gateway.observability import tracebacks
from gateway.observability.client_fields import client_processor
from gateway.observability.console_lines import TIME_FORMAT, colored, console_line
from gateway.observability.json_lines import json_line
from gateway.observability.log_sinks import FileTarget, LogSink, StreamTarget
from gateway.redaction import Redactor, library_message, printable

_CLOSE_TIMEOUT = 60.0  # seconds to write the last lines of a file that is no longer used


class LogOutputs:
    """Holds the sinks of this process. Close it at the end, so that the last lines are written.

    stream: gets all lines; stderr unless given.
    shared: whether other processes write to the stream too.
    """

    def __init__(self, stream: TextIO | None = None, *, shared: bool = False) -> None:
        stream = stream or sys.stderr
        self._stderr = LogSink(StreamTarget(stream, shared=shared), self._lost)
        self.takes_colors = _takes_colors(stream)
        self._sinks = [self._stderr]
        self._file: FileTarget | None = None
        self.render_loss: Callable[[int], str] = str

    def _lost(self, count: int) -> str:
        return self.render_loss(count)

    def also_to(self, file: FileTarget | None) -> None:
        """Write to this file too, and no longer to the former one."""
        former, former_file = self._sinks[1:], self._file
        self._file = file
        self._sinks = [self._stderr, *([LogSink(file, self._lost)] if file else [])]

        def finish(sink: LogSink, file: FileTarget) -> None:
            if sink.close(_CLOSE_TIMEOUT):
                file.close()

        for sink in former:  # in a thread: lines may be left, and the disk may hang
            assert former_file is not None
            threading.Thread(target=finish, args=(sink, former_file), daemon=True).start()

    @property
    def path(self) -> str | None:
        """Return the path of the file, or None."""
        return self._file.path if self._file else None

    def reopen(self) -> None:
        """Open the file again at its next line, even if it was not moved."""
        if self._file:
            self._file.reopen()

    def put(self, line: str, in_colors: str | None = None) -> None:
        """Put a line into the queue of each sink. in_colors: the same line for a terminal."""
        self._stderr.put(line if in_colors is None else in_colors)
        for sink in self._sinks[1:]:
            sink.put(line)

    def flush(self, timeout: float = 1.0) -> None:
        """Wait until all lines are written, at most `timeout` seconds for each sink."""
        for sink in self._sinks:
            sink.flush(timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Write the queued lines and stop, after at most `timeout` seconds for each sink."""
        for sink in self._sinks:
            sink.close(timeout)


def _takes_colors(stream: TextIO) -> bool:
    """Return whether lines to a stream may have colours (see no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream is not None and not stream.closed and stream.isatty()


class _LineLogger:
    """Takes the finished line from structlog's processors."""

    def __init__(self, name: str, put: Callable[..., None]) -> None:
        self.name = name
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = put


_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class _StdlibHandler(logging.Handler):
    """Passes log records of libraries on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = max(n for n in _LEVELS if n <= max(record.levelno, logging.DEBUG))
        message = library_message(record.name, record.getMessage())
        structlog.get_logger(record.name).log(level, message, exc_info=record.exc_info)


def configure_logging(
    settings: LogSettings,
    redactor: Redactor,
    stream: TextIO | None = None,
    outputs: LogOutputs | None = None,
    labels: Mapping[str, Any] | None = None,
) -> LogOutputs:
    """Set up structlog and the standard library's logging for this process.

    labels: fields of every line, such as the number of the worker. With labels, other
        processes are expected to write to the stream too.
    outputs: the result of an earlier call, to be changed to these settings.
    Returns the outputs, to be closed at the end of the process. Raises OSError when the file
    cannot be opened; then nothing has changed.
    """
    file = None
    if settings.file and (outputs is None or outputs.path != settings.file):
        file = FileTarget(settings.file)
    outputs = outputs or LogOutputs(stream, shared=bool(labels))
    if outputs.path != settings.file:
        outputs.also_to(file)
    level = getattr(logging, settings.level.upper())
    console = settings.format == "console"
    in_colors = console and outputs.takes_colors

    def rendered(event: structlog.typing.EventDict) -> str:
        return console_line(event, redactor) if console else json_line(event, redactor)

    def finished(
        _: Any, __: str, event: structlog.typing.EventDict
    ) -> str | tuple[tuple[str, str], dict[str, Any]]:
        line = rendered(event)
        return ((line, colored(line, event)), {}) if in_colors else line

    def labelled(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.update(labels or {})
        return event

    def lost(count: int) -> str:
        event = {"event": "log_lines_lost", "count": count, "level": "warning", "logger": "log"}
        return rendered(stamp(None, "", event))

    put = outputs.put
    outputs.render_loss = lost
    stamp = structlog.processors.TimeStamper(fmt=TIME_FORMAT if console else "iso", utc=not console)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *([labelled] if labels else []),
            client_processor(settings.client),
            structlog.processors.add_log_level,
            structlog.stdlib.add_logger_name,
            stamp,
            structlog.processors.ExceptionRenderer(tracebacks.render_for_structlog),
            _escape_values,
            finished,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name="gateway": _LineLogger(name, put),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    libraries = _StdlibHandler()
    libraries.addFilter(FloodFilter())
    root.handlers = [libraries]
    root.setLevel(max(level, logging.WARNING))
    return outputs


def _escape_values(
    _: Any, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape values, since text of a client must not forge lines or move a terminal's cursor."""
    for name, value in event.items():
        if type(value) is str and not value.isprintable() and name != "exception":
            event[name] = printable(value)
    return event


_MAX_RECORDS = 5  # of one kind in one period
_PERIOD = 10.0  # seconds
_MAX_KINDS = 256


class FloodFilter(logging.Filter):
    """Passes the first 5 records of each kind in 10 seconds and drops the others.

    With no file descriptor left, asyncio logs a traceback for each connection that it cannot
    accept, and tries again at once. Records are of one kind when logger and message are
    equal, before values are filled in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged."""
        kind = record.name, str(record.msg)[:200]
        now = self._clock()
        since, count = self._kinds.get(kind, (now, 0))
        if now - since >= _PERIOD:
            since, count = now, 0
        if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        self._kinds[kind] = since, count + 1
        return count < _MAX_RECORDS
