"""What commands print: tables, JSON, members, notes."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from gateway import terminal


def test_columns_of_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [{"name": "alice", "count": 7}, {"name": None, "count": 1200}]
    terminal.print_table(("name", "count"), rows)
    assert capsys.readouterr().out.splitlines() == ["name   count", "alice      7", "-       1200"]


def test_nothing_that_is_printed_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\x1b[2J\u202eb\x7f\u0085"
    terminal.print_table(("name",), [{"name": text}])
    terminal.print_members({"name": text, "names": [text]})
    terminal.print_note(text)
    terminal.print_json({"name": text})
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert all(line.isprintable() for line in (*lines, printed.err.rstrip("\n")))
    assert json.loads(lines[-1]) == {"name": text}


def test_members_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_members({"read_to": 5, "days": [], "found": ["a", 1], "none": None})
    assert capsys.readouterr().out == "read to: 5\ndays: none\nfound: a, 1\nnone: -\n"


def test_a_reader_that_has_left_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)

        def command() -> int:
            print("much")
            return 3

        assert terminal.run_command(command) == 0


def test_a_full_disk_and_ctrl_c_are_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert terminal.run_command(interrupted) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
    with open("/dev/full", "w") as output:
        monkeypatch.setattr(sys, "stdout", output)

        def full() -> int:
            print("much", flush=True)
            return 0

        assert terminal.run_command(full) == 1
    assert capsys.readouterr().err == ("The output cannot be written: No space left on device.\n")


def test_without_an_output_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert terminal.run_command(lambda: 0) == terminal.USAGE_ERROR
    assert capsys.readouterr().err == "There is no standard output, so nothing was done.\n"
