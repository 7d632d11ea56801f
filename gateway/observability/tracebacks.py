"""Formats tracebacks without the texts of exceptions, since a text may quote a prompt.

A library or a middleware may put anything into the text of an exception. So a traceback has
the lines of code and the types of the exceptions. Texts are shown only where they cannot
quote anything (`gateway/redaction.py`).
"""

from __future__ import annotations

import sys
import threading
import traceback
from types import TracebackType
from typing import Any

import structlog

from gateway.errors import GatewayError
from gateway.redaction import exception_text

_MAX_FRAMES = 40
_MAX_ERRORS = 16  # in one chain, with those of groups


def format_exception(error: BaseException) -> str:
    """Format an exception and its causes as Python does, but without most texts."""
    parts: list[str] = []
    _add(error, parts, set())
    return "".join(parts).rstrip("\n")


def render_for_structlog(
    exc_info: tuple[type[BaseException], BaseException, TracebackType | None],
) -> str:
    """Format an exception for structlog, as `format_exception` does."""
    return format_exception(exc_info[1])


def print_fatal_exception(
    kind: type[BaseException], error: BaseException, _: object = None
) -> None:
    """Print the exception that ends the process to stderr; used as `sys.excepthook`."""
    if not issubclass(kind, KeyboardInterrupt):
        print(format_exception(error), file=sys.stderr)


def log_uncaught_exceptions() -> None:
    """Log exceptions of threads and finalizers, which Python would print without the log."""
    log = structlog.get_logger("python")

    def on_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None:
            log.error("bug", exc_info=found.exc_value)

    def on_unraisable(found: Any) -> None:
        if found.exc_value is not None:
            log.error("bug", exc_info=found.exc_value)

    threading.excepthook = on_thread
    sys.unraisablehook = on_unraisable


def _add(error: BaseException, parts: list[str], seen: set[int]) -> None:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen and len(seen) < _MAX_ERRORS:
        _add(before, parts, seen)
        parts.append("\nwhich led to:\n\n")
    if error.__traceback__ is not None:
        parts.append("Traceback (most recent call last):\n")
        parts += traceback.format_tb(error.__traceback__, limit=-_MAX_FRAMES)
    text = error.message if isinstance(error, GatewayError) else exception_text(error)
    parts.append(f"{_name(type(error))}: {text}\n")
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if id(inner) not in seen and len(seen) < _MAX_ERRORS:
                parts.append("\nin that group:\n\n")
                _add(inner, parts, seen)


def _name(kind: type[BaseException]) -> str:
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
