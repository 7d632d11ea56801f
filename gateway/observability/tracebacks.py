"""Formats tracebacks without the texts of exceptions, since a text may quote a prompt.

A library or a middleware may put anything into the text of an exception. So a traceback has
the lines of code and the types of the exceptions. Texts are shown only where they cannot
quote anything: of the gateway's own errors, of the interpreter and of imports.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

import structlog

from gateway.errors import GatewayError

_MAX_FRAMES = 40
_MAX_ERRORS = 16  # in one chain, with those of groups

# The interpreter's own texts have only names and types; the text of a `raise` may have more.
_BY_INTERPRETER = (AttributeError, NameError, TypeError, RecursionError, ZeroDivisionError)
_BY_IMPORT = (ImportError, ModuleNotFoundError, SyntaxError, IndentationError, TabError)
_MODULE_NAME = re.compile(r"[\w.]{1,100}", re.ASCII)


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
    parts.append(f"{_name(type(error))}: {_exception_text(error)}\n")
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if id(inner) not in seen and len(seen) < _MAX_ERRORS:
                parts.append("\nin that group:\n\n")
                _add(inner, parts, seen)


def _exception_text(error: BaseException) -> str:
    if isinstance(error, GatewayError):
        return error.message
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno > 0:
        return os.strerror(error.errno)  # its own text has a file's name, or worse
    try:
        text = str(error)
    except Exception:  # a `__str__` of other code may raise anything
        return "(no text: __str__ failed)"
    if not text or _is_harmless(error):
        return text
    return f"({len(text)} characters that are not logged)"


def _is_harmless(error: BaseException) -> bool:
    """Return whether the text of an exception has nothing but names of code in it."""
    kind = type(error)
    if kind not in (*_BY_INTERPRETER, *_BY_IMPORT) or _was_raised(error):
        return False
    if isinstance(error, ImportError):
        # A middleware may import a name that a client sent: what is no name stays hidden.
        return error.name is not None and _MODULE_NAME.fullmatch(error.name) is not None
    if isinstance(error, SyntaxError):
        # `compile` of a client's text has no file; a module that is imported has one.
        return error.filename is not None and os.path.isfile(error.filename)
    return True


def _was_raised(error: BaseException) -> bool:
    """Return whether a `raise` outside the import system made it, as far as can be known."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    if frames and frames[0].filename.startswith("<frozen importlib."):
        return False
    line = frames[0].line if frames else None
    return not line or re.search(r"\braise\b", line) is not None


def _name(kind: type[BaseException]) -> str:
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
