"""Writes a log event as a short line for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from structlog.typing import EventDict

from gateway.redaction import printable

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
"""How lines begin: the local time."""

_TIME_LENGTH = len("2026-01-31 23:59:59")  # characters
_RED, _YELLOW, _CYAN, _DIM, _END = (f"\x1b[{code}m" for code in ("31", "33", "36", "2", "0"))
_LEVEL_COLORS = {"critical": _RED, "error": _RED, "warning": _YELLOW}

# What the line of a request shows in a form of its own, or leaves to the JSON format.
_REQUEST_FIELDS = frozenset(
    (
        *("account", "address", "bytes", "cause", "completion_tokens", "detail", "duration_ms"),
        *("end", "event", "exception", "finish_reason", "first_piece_ms", "key", "level", "logger"),
        *("message", "method", "model", "param", "prompt_tokens", "queued_ms", "request_id"),
        *(
            "repaired",
            "route",
            "status",
            "stream",
            "timestamp",
            "tokens_estimated",
            "upstream_status",
        ),
        "user_agent",
    )
)
_OTHER_FIELDS = frozenset(("event", "exception", "level", "logger", "timestamp"))


def console_line(event: EventDict, mask: Callable[[str], str]) -> str:
    """Return the line of an event; a traceback follows on lines of its own.

    mask: masks the secrets of a text.
    """
    level = event.get("level", "")
    parts = [event.get("timestamp", ""), f"{level if level == 'info' else level.upper():<7}"]
    if event.get("event") == "request" and "duration_ms" in event:
        parts += _request(event)
        shown = _REQUEST_FIELDS
    else:
        parts.append(f"{event.get('logger')}: {event.get('event')}")
        shown = _OTHER_FIELDS
    parts += [f"{name}={_text(value)}" for name, value in event.items() if name not in shown]
    lines = [" ".join(map(str, parts)), *str(event.get("exception") or "").splitlines()]
    return mask("\n".join(map(printable, lines)))


def colored(line: str, event: EventDict) -> str:
    """Return a finished line in colours: failures as a whole, of other lines only the time.

    event: the event of the line.
    """
    color = _LEVEL_COLORS.get(event.get("level", ""))
    if color is None and event.get("event") == "request" and event.get("cause"):
        color = _CYAN
    if color is None:
        return f"{_DIM}{line[:_TIME_LENGTH]}{_END}{line[_TIME_LENGTH:]}"
    head, newline, traceback = line.partition("\n")
    return f"{color}{head}{_END}{newline}{traceback}"


def _request(event: EventDict) -> list[str]:
    """Return status, route, key, model, tokens, seconds and id, and why the request failed."""
    duration = event.get("duration_ms")
    parts = [
        _text(event.get("status")),
        f"{event.get('method')} {event.get('route')}",
        _text(event.get("key")),
        _text(event.get("model")),
        _tokens(event),
        "-" if duration is None else f"{duration / 1000:.2f}s",
        _text(event.get("request_id")),
    ]
    if event.get("cause") is not None:
        parts.append(_failure(event))
    return parts


def _tokens(event: EventDict) -> str:
    """Return the tokens of prompt and answer: `120+45`; estimated ones as `~120+45`."""
    counts = event.get("prompt_tokens"), event.get("completion_tokens")
    if counts == (None, None):
        return "-"
    return f"{'~' if event.get('tokens_estimated') else ''}{counts[0]}+{counts[1]}"


def _failure(event: EventDict) -> str:
    known = {
        "param": event.get("param"),
        "Fitten's status": event.get("upstream_status"),
        "account": event.get("account"),
        "from": event.get("address"),
    }
    details = [f"{name} {value}" for name, value in known.items() if value not in (None, "")]
    if event.get("detail"):
        details.insert(0, str(event["detail"]))
    # `end` is "error" for an error without a code.
    name = event["cause"] if event.get("end") in ("error", "refused") else event.get("end")
    message = f": {event['message']}" if event.get("message") else ""
    return f"{name}{message}" + (f" ({', '.join(details)})" if details else "")


def _text(value: Any) -> str:
    """Return a value as lines show it; in quotes where its end could not be seen."""
    if value is None:
        return "-"
    if isinstance(value, str) and value and not any(c in value for c in " '\"="):
        return value
    return repr(value)
