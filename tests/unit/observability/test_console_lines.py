"""Log lines for people: one short line a request, failures that stand out."""

from __future__ import annotations

import io
import logging
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.config.settings import LogSettings
from gateway.observability.console_lines import console_line
from gateway.observability.logging import configure_logging
from gateway.redaction import Redactor

SERVED: dict[str, Any] = {
    "event": "request",
    "timestamp": "2026-01-31 12:00:00",
    "level": "info",
    "logger": "request",
    "request_id": "req_1",
    "method": "POST",
    "route": "/v1/chat/completions",
    "key": "alice",
    "status": 200,
    "end": "complete",
    "cause": None,
    "duration_ms": 1234.5,
    "bytes": 99,
    "user_agent": "curl",
    "model": "fitten-code",
    "account": "first",
    "queued_ms": 0.0,
    "stream": True,
    "finish_reason": "stop",
    "prompt_tokens": 120,
    "completion_tokens": 45,
    "tokens_estimated": False,
    "first_piece_ms": 100.0,
}
WHOLE = (
    "2026-01-31 12:00:00 info    200 POST /v1/chat/completions alice fitten-code 120+45 1.23s req_1"
)


def line(**changes: Any) -> str:
    return console_line({**SERVED, **changes}, Redactor(["correct horse"]))


def test_a_request_is_one_short_line() -> None:
    assert line() == WHOLE


def test_estimated_tokens_are_marked() -> None:
    assert " ~120+45 " in line(tokens_estimated=True)


def test_a_request_without_key_and_model_keeps_its_columns() -> None:
    fields = ("timestamp", "level", "event", "logger", "method", "route", "status", "duration_ms")
    plain = {name: SERVED[name] for name in fields}
    assert console_line(plain, str) == (
        "2026-01-31 12:00:00 info    200 POST /v1/chat/completions - - - 1.23s -"
    )


def test_a_failure_stands_out_with_its_cause() -> None:
    failed = line(
        level="warning",
        status=502,
        end="upstream_error",
        cause="upstream_error",
        message="Fitten cannot be reached.",
        upstream_status=503,
        detail="Connection refused",
        address="198.51.100.7",
    )
    assert failed == WHOLE.replace("info   ", "WARNING").replace(" 200 ", " 502 ") + (
        " upstream_error: Fitten cannot be reached."
        " (Connection refused, Fitten's status 503, account first, from 198.51.100.7)"
    )


def test_a_failure_without_a_code_of_its_own_has_its_cause() -> None:
    failed = {"end": "error", "cause": "invalid_request", "param": "n", "account": None}
    assert line(**failed, message="It is wrong.").endswith(
        "req_1 invalid_request: It is wrong. (param n)"
    )


def test_what_other_middlewares_bind_to_a_line_is_shown() -> None:
    assert line(team="red team", worker=2) == f"{WHOLE} team='red team' worker=2"


def test_another_event_has_its_logger_and_its_fields() -> None:
    event = {
        "event": "session_failed",
        "timestamp": "2026-01-31 12:00:00",
        "level": "error",
        "logger": "session",
        "account": "first",
        "reason": "It is wrong.",
        "nothing": None,
    }
    assert console_line(event, str) == (
        "2026-01-31 12:00:00 ERROR   session: session_failed account=first reason='It is wrong.'"
        " nothing=-"
    )


def test_a_secret_in_a_line_is_masked() -> None:
    assert "correct horse" not in line(message="correct horse", cause="draining", end="draining")


@pytest.fixture
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written_to_a_terminal(settings: LogSettings) -> str:
    """Return what a terminal gets of one line of each kind."""
    master, slave = pty.openpty()
    try:
        with os.fdopen(slave, "w") as terminal:
            outputs = configure_logging(settings, Redactor(), terminal)
            logger = structlog.get_logger("test")
            for log in (logger.info, logger.warning, logger.error):
                log("event", text="\x1b[2J")
            outputs.close()
            return os.read(master, 10_000).decode()
    finally:
        os.close(master)


@pytest.mark.usefixtures("_restored")
def test_a_terminal_gets_colours_and_the_file_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    file = tmp_path / "log"
    info, warning, error = written_to_a_terminal(LogSettings(file=str(file))).splitlines()
    assert info.startswith("\x1b[2m")
    assert warning.startswith("\x1b[33m")
    assert error.startswith("\x1b[31m")
    assert "\x1b[2J" not in info + warning + error
    assert len(file.read_text().splitlines()) == 3
    assert "\x1b" not in file.read_text()


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_gets_no_colours_where_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    assert "\x1b" not in written_to_a_terminal(LogSettings())


@pytest.mark.usefixtures("_restored")
def test_json_and_what_is_no_terminal_get_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in written_to_a_terminal(LogSettings(format="json"))
    stream = io.StringIO()
    outputs = configure_logging(LogSettings(), Redactor(), stream)
    structlog.get_logger("test").error("event")
    outputs.close()
    assert "ERROR   test: event" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
