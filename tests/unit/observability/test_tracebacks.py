"""Tracebacks: where and what, but not what exceptions say."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import UpstreamError
from gateway.observability import tracebacks

SAID = "canary prompt"
ROOT = Path(__file__).parents[3]
WITHOUT_WORKERS = shutil.ignore_patterns("workers", "__pycache__")


def traceback_text(fails: Callable[[], Any]) -> str:
    with pytest.raises(BaseException) as caught:  # noqa: PT011  any will do
        fails()
    return tracebacks.format_exception(caught.value)


class Own(Exception):
    """An exception of a middleware."""

    def __str__(self) -> str:
        return f"never {SAID}"


class Broken(Exception):
    """An exception whose text cannot be read."""

    def __str__(self) -> str:
        raise ValueError(SAID)


def a_cause() -> None:
    try:
        json.loads(SAID)
    except ValueError as error:
        raise Own from error


def a_context() -> None:
    try:
        NOTHING[SAID]
    except KeyError:
        raise Own  # noqa: B904  that is the case


def a_note() -> None:
    error = Own()
    error.add_note(SAID)
    raise error


def a_group() -> None:
    raise ExceptionGroup(SAID, [ValueError(SAID), ExceptionGroup("b", [KeyError(SAID)])])


def of_a_type_with_the_text_in_its_name() -> None:
    raise TypeError(f"{SAID} is no number")


def a_file() -> None:
    Path(SAID).read_text()


NOTHING: dict[str, int] = {}

FAILURES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "a value": (lambda: int(SAID), ["ValueError: (53 characters that are not logged)"]),
    "a key": (lambda: NOTHING[SAID], ["KeyError: (15 characters that are not logged)"]),
    "an own one": (lambda: a_note(), ["test_tracebacks.Own: (19 characters", "raise error"]),
    "a cause": (a_cause, ["json.decoder.JSONDecodeError: (", "which led to", ".Own: (19 "]),
    "a context": (a_context, ["KeyError: (15 ", "which led to", ".Own: (19 characters"]),
    "a group": (a_group, ["ExceptionGroup: (", "in that group", "ValueError: (13 ", "KeyError"]),
    "a type": (of_a_type_with_the_text_in_its_name, ["TypeError: (26 characters", "is no number"]),
    "a file": (a_file, ["FileNotFoundError: No such file or directory"]),
    "many": (lambda: deep(SAID), ["RecursionError: maximum recursion depth exceeded"]),
    "a name": (lambda: SAID.nothing, ["AttributeError: 'str' object has no attribute"]),  # type: ignore[attr-defined]
}


def deep(text: str) -> str:
    return deep(text + "")


@pytest.mark.parametrize(("fails", "shown"), FAILURES.values(), ids=FAILURES.keys())
def test_a_traceback_shows_kinds_and_lines_but_no_text(
    fails: Callable[[], Any], shown: list[str]
) -> None:
    text = traceback_text(fails)
    for words in shown:
        assert words in text
    assert "Traceback (most recent call last):" in text
    assert "test_tracebacks.py" in text
    assert SAID not in text
    assert len(text) < 20_000


def test_our_own_errors_say_their_sentence() -> None:
    def fails() -> None:
        raise UpstreamError("Fitten failed.")

    assert "gateway.errors.UpstreamError: Fitten failed." in traceback_text(fails)


BROKEN_MODULE = "if True:\nnot indented"
IMPORTS: dict[str, tuple[str, str]] = {
    "no such module": ("import gateway.nowhere", "No module named 'gateway.nowhere'"),
    "by its name": (
        "import importlib; importlib.import_module('gateway.nowhere')",
        "ModuleNotFoundError: No module named 'gateway.nowhere'",
    ),
    "no package": (
        "import gateway.errors.nowhere",
        "No module named 'gateway.errors.nowhere'; 'gateway.errors' is not a package",
    ),
    "no such name": (
        "from gateway.errors import nothing",
        "ImportError: cannot import name 'nothing' from 'gateway.errors' (",
    ),
    "a mistake in a module": (
        "import broken_module",
        "IndentationError: expected an indented block after 'if' statement on line 1 "
        "(broken_module.py, line 2)",
    ),
}


@pytest.mark.parametrize(("statement", "shown"), IMPORTS.values(), ids=IMPORTS.keys())
def test_what_cannot_be_imported_is_named(
    statement: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text(BROKEN_MODULE)
    (tmp_path / "importing.py").write_text(statement)
    monkeypatch.syspath_prepend(tmp_path)
    assert shown in traceback_text(lambda: importlib.import_module("importing"))


def raised_import_error() -> None:
    raise ImportError(SAID, name="json")


def raised_syntax_error() -> None:
    raise SyntaxError(SAID, (__file__, 1, 1, SAID))


class OwnImportError(ImportError):
    """An import error whose text a middleware has chosen."""

    def __str__(self) -> str:
        return SAID


def an_own_import_error() -> None:
    raise OwnImportError(name="json")


HIDDEN: dict[str, tuple[Callable[[], Any], str]] = {
    "raised": (raised_import_error, "ImportError: (13 characters that are not logged)"),
    "raised as a syntax error": (raised_syntax_error, "SyntaxError: ("),
    "of an own kind": (an_own_import_error, "OwnImportError: (13 "),
    "a client's text as a module": (lambda: importlib.import_module(SAID), "NotFoundError: ("),
    "a client's text as a file": (lambda: importlib.import_module(f"{SAID}/x"), "Error: ("),
    "a client's text as code": (lambda: compile(f"{SAID}!", SAID, "exec"), "SyntaxError: ("),
    "as a keyword": (lambda: compile("f(prompt=1, prompt=2)", "<string>", "exec"), "Error: ("),
}


@pytest.mark.parametrize(("fails", "shown"), HIDDEN.values(), ids=HIDDEN.keys())
def test_import_errors_that_may_quote_a_client_have_no_text(
    fails: Callable[[], Any], shown: str
) -> None:
    text = traceback_text(fails)
    assert shown in text
    assert SAID not in text
    assert "prompt" not in text.rpartition("Error: (")[2]


def test_a_process_that_cannot_import_a_module_names_it(tmp_path: Path) -> None:
    """As an installation does from which a package of the gateway is missing."""
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway", ignore=WITHOUT_WORKERS)
    shutil.copytree(ROOT / "middlewares", tmp_path / "middlewares")
    (tmp_path / "config.yaml").write_text(
        "fitten: {accounts: [{username: ada, password: correct horse}]}\n"
        "server: {workers: 2, port: 0}\nmiddlewares: [request_id]\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "serve"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stderr.endswith("ModuleNotFoundError: No module named 'gateway.workers'\n")


def test_an_exception_without_a_text_is_shown_too() -> None:
    def fails() -> None:
        raise Broken

    assert "Broken: (no text: __str__ failed)" in traceback_text(fails)


def test_an_exception_that_causes_itself_ends() -> None:
    error = ValueError(SAID)
    error.__cause__ = other = KeyError(SAID)
    other.__cause__ = error
    assert tracebacks.format_exception(error).count("characters that are not logged") == 2


def test_what_threads_and_finalizers_raise_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr("sys.unraisablehook", None)

    class Finalized:
        def __del__(self) -> None:
            raise ValueError(SAID)

    def fails() -> None:
        raise ValueError(SAID)

    tracebacks.log_uncaught_exceptions()
    with capture_logs() as events:
        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()
        Finalized()
    assert [(event["event"], event["log_level"]) for event in events] == [("bug", "error")] * 2
    assert all(isinstance(event["exc_info"], ValueError) for event in events)
