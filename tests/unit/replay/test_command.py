"""The command replay: what it prints, and which files it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.fitten.tools.record import MAX_RECORD
from gateway.replay import command
from gateway.replay.command import Form, run
from tests.unit.replay.support import BROKEN, record_of, written


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of a record that has all kinds of pieces."""
    raw = f"Now.\n<clock/>\x1b[2J\n{BROKEN}\u202e"
    path = tmp_path / "answer.json"
    path.write_bytes(written(record_of([("reasoning", "Hm."), ("content", raw)])))
    return path


def test_the_answer_is_printed_as_it_is_read_now(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, "text") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines() == [
        "kept because: unreadable",
        "request - of alice at 2026-01-31T12:00:00Z, model fitten-code, notation json, "
        "tools: get_weather, clock, write_file",
        "reasoning",
        "  | Hm.",
        "text",
        "  | Now.",
        "  | ",
        "call clock",
        "arguments",
        "  | {}",
        "text",
        "  | \\x1b[2J",
        "  | <tool_call>",
        '  | {"name": "clock", "arguments": {}',
        "  | \\u202e",
        "finish reason tool_calls",
        "then: reasoning 3, content 5, call clock, arguments 2, content 52; "
        "finish reason tool_calls",
        "same",
    ]


def test_a_difference_and_what_is_not_known_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = record_of([("content", "<clock/>")], [("content", "<clock/>")], "stop")
    record.raw.append(("cut", "100"))
    record.masked = record.schemas_left_out = True
    record.stop_strings = 1
    file = tmp_path / "answer.json"
    file.write_bytes(written(record))
    assert run(file, "text") == 0
    printed = capsys.readouterr().out
    assert printed.endswith("then: content 8; finish reason stop\ndiffers\n")
    for note in ("Secrets were masked", "middle of the answer", "schemas", "stop strings"):
        assert note in printed


def test_json_is_printed_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "json") == 0
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    assert printed.isascii()
    data = json.loads(printed)
    assert data["same"] is True
    assert data["now"]["pieces"][2:4] == [["call", "clock"], ["arguments", "{}"]]
    assert data["then"]["finish_reason"] == data["now"]["finish_reason"] == "tool_calls"


def test_a_test_case_is_printed_with_its_place(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, "test") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith('"""An answer that was recorded: unreadable."""\n')
    assert printed.err == ("Save it as tests/unit/fitten/tools/test_recorder_20260131t120000z.py\n")


@pytest.mark.parametrize("form", ["text", "json", "test"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is not JSON"),
        (b"\x00\xff", "is not JSON"),
        (b'{"a":' * 100_000, "is not JSON"),
        (b'{"raw": [["content", 3]]}', "is not the record of an answer"),
        (b" " * (MAX_RECORD + 1), "cannot be read: File too large"),
    ],
)
def test_what_is_no_record_is_refused_in_a_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    form: Form,
    content: bytes | None,
    problem: str,
) -> None:
    file = tmp_path / "answer\x1b.json"
    if content is not None:
        file.write_bytes(content)
    assert run(file, form) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert problem in printed.err
    assert printed.err.removesuffix("\n").isprintable()


def test_a_fifo_and_a_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert [run(fifo, "text"), run(tmp_path, "text")] == [2, 2]
    assert capsys.readouterr().out == ""


def test_a_bug_in_the_reader_is_no_traceback(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RecursionError("the text of a model")

    monkeypatch.setattr(command, "read_record", fail)
    assert run(file, "text") == 1
    assert capsys.readouterr().err == f"{file}: reading the answer fails: RecursionError\n"
