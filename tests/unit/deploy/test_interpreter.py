"""Which interpreters the installed service can reach."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from deploy import interpreter


@pytest.mark.parametrize(
    "path",
    [
        "/home/ann/.pyenv/bin/python3",
        "/root/python/bin/python3",
        "/run/user/0/python3",
        "/tmp/python3",
        "/var/tmp/python3",
    ],
)
def test_what_the_sandbox_hides_is_an_obstacle(path: str) -> None:
    assert "which the service does not see" in (interpreter.obstacle(Path(path)) or "")


@pytest.mark.parametrize("path", ["/bin/sh", "/usr/bin/env"])
def test_a_program_of_the_system_is_none(path: str) -> None:
    assert interpreter.obstacle(Path(path).resolve()) is None


def test_a_folder_or_file_that_is_closed_to_others_is_an_obstacle() -> None:
    with tempfile.TemporaryDirectory() as name:  # unlike tmp_path, in a folder open to others
        folder = Path(name)
        python = folder / "python"
        python.touch()
        for folder_mode, mode, expected in (
            (0o755, 0o755, None),
            (0o700, 0o755, f"{folder} is closed to other users"),
            (0o755, 0o750, f"{python} cannot be read by other users"),
        ):
            folder.chmod(folder_mode)
            python.chmod(mode)
            assert interpreter.obstacle(python, hidden=()) == expected


def test_the_check_names_the_obstacle_and_what_to_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "_base_executable", "/home/ann/python", raising=False)
    assert interpreter.main(["--check"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "/home/ann/python is below /home, which the service does not see" in shown.err
    assert "make install-service PYTHON=" in shown.err
    assert interpreter.main([]) == 0
    assert capsys.readouterr().out == "/home/ann/python\n"
