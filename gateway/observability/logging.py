"""Structured log lines to stderr and a file, secrets masked as the last step."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import msgspec
import structlog

from gateway.config.settings import LogSettings
from gateway.observability import tracebacks
from gateway.observability.log_sinks import FileTarget, LogSink, StreamTarget
from gateway.observability.redaction import Redactor, printable

_CLOSE_TIMEOUT = 60.0  # seconds that a file which is left behind may take

_ARGUMENTS = re.compile(r"\(.+\)")


class LogOutputs:
    """The sinks of this process; to be closed in the end, so that the last lines are written.

    stream: where lines always go; stderr unless given. shared: whether other processes write
    to it too.
    """

    def __init__(self, stream: TextIO | None = None, *, shared: bool = False) -> None:
        self._stderr = LogSink(StreamTarget(stream or sys.stderr, shared=shared), self._lost)
        self._sinks = [self._stderr]
        self._file: FileTarget | None = None
        self.rendered_loss: Callable[[int], str] = str

    def _lost(self, count: int) -> str:
        return self.rendered_loss(count)

    def also_to(self, file: FileTarget | None) -> None:
        """Write to this file too, and no more to the one before it."""
        former, former_file = self._sinks[1:], self._file
        self._file = file
        self._sinks = [self._stderr, *([LogSink(file, self._lost)] if file else [])]

        def finish(sink: LogSink, file: FileTarget) -> None:
            if sink.close(_CLOSE_TIMEOUT):
                file.close()

        for sink in former:  # it may have lines left, and its disk may hang
            assert former_file is not None
            threading.Thread(target=finish, args=(sink, former_file), daemon=True).start()

    @property
    def path(self) -> str | None:
        """Where the file is."""
        return self._file.path if self._file else None

    def reopen(self) -> None:
        """Open the file anew at its next line, whatever has become of it."""
        if self._file:
            self._file.reopen()

    def put(self, line: str) -> None:
        """One line for each of them."""
        for sink in self._sinks:
            sink.put(line)

    def flush(self, timeout: float = 1.0) -> None:
        """Wait until what was logged is written, at most `timeout` seconds."""
        for sink in self._sinks:
            sink.flush(timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Write what is left, at most for `timeout` seconds."""
        for sink in self._sinks:
            sink.close(timeout)


class _LineLogger:
    """The logger that structlog's processors hand their line to."""

    def __init__(self, name: str, put: Callable[[str], None]) -> None:
        self.name = name
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = put


_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class _StdlibHandler(logging.Handler):
    """Log records of libraries, on the same road."""

    def emit(self, record: logging.LogRecord) -> None:
        level = max(n for n in _LEVELS if n <= max(record.levelno, logging.DEBUG))
        message = record.getMessage()
        if record.name == "asyncio":
            # It goes on with what it holds: exceptions, connections, arguments of callbacks.
            message = _ARGUMENTS.sub("(...)", message.partition("\n")[0])
        structlog.get_logger(record.name).log(level, message, exc_info=record.exc_info)


def configure_logging(
    settings: LogSettings,
    redactor: Redactor,
    stream: TextIO | None = None,
    outputs: LogOutputs | None = None,
    labels: Mapping[str, Any] | None = None,
) -> LogOutputs:
    """Set up structlog and the standard library's logging for this process.

    labels: what every line has, such as the worker that it comes from, which then is not the
        only one to write to the stream.
    outputs: those of an earlier call, for other settings. They are to be closed at the
    process's end. Raises OSError when the file cannot be opened; then nothing has changed.
    """
    file = None
    if settings.file and (outputs is None or outputs.path != settings.file):
        file = FileTarget(settings.file)
    outputs = outputs or LogOutputs(stream, shared=bool(labels))
    if outputs.path != settings.file:
        outputs.also_to(file)
    level = getattr(logging, settings.level.upper())
    renderer: Any = _json_line
    if settings.format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)

    def rendered(logger: Any, name: str, event: structlog.typing.EventDict) -> str:
        return redactor(renderer(logger, name, event))

    def labelled(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.update(labels or {})
        return event

    def lost(count: int) -> str:
        event = {"event": "log_lines_lost", "count": count, "level": "warning", "logger": "log"}
        return rendered(None, "", stamp(None, "", event))

    put = outputs.put
    outputs.rendered_loss = lost
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *([labelled] if labels else []),
            structlog.processors.add_log_level,
            structlog.stdlib.add_logger_name,
            stamp,
            structlog.processors.ExceptionRenderer(tracebacks.render_for_structlog),
            _printable,
            rendered,
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


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _json_line(_: Any, __: str, event: structlog.typing.EventDict) -> str:
    """One JSON object in ASCII, whatever is in it."""
    try:
        line = _encode(event)
    except (TypeError, UnicodeEncodeError):  # keys that are no text, lone surrogates
        line = b"\xff"
    return line.decode("ascii") if line.isascii() else json.dumps(event, default=repr)


def _printable(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Callers' text in values must not forge lines or move a terminal's cursor."""
    for name, value in event.items():
        if type(value) is str and not value.isprintable() and name != "exception":
            event[name] = printable(value)
    return event


_MAX_RECORDS = 5  # of a kind


_PERIOD = 10.0  # seconds


_MAX_KINDS = 256


class FloodFilter(logging.Filter):
    """Lets the first few records of a kind pass within some seconds.

    With no descriptor left, asyncio logs a traceback for each connection that it cannot take
    and tries again at once. A kind is a logger and a text before its values are filled in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is heard."""
        kind = record.name, str(record.msg)[:200]
        now = self._clock()
        since, count = self._kinds.get(kind, (now, 0))
        if now - since >= _PERIOD:
            since, count = now, 0
        if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        self._kinds[kind] = since, count + 1
        return count < _MAX_RECORDS
