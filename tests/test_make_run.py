"""`make run`: which configuration and which port it passes on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def recipe(*arguments: str, **environ: str) -> str:
    """The command that `make run` would run, without what installs."""
    usual = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PORT", "CONFIG", "MAKEFLAGS", "MAKELEVEL")
    }
    result = subprocess.run(
        ["make", "--dry-run", "-o", ".venv/.runtime", "run", *arguments],
        cwd=ROOT,
        env={**usual, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return " ".join(result.stdout.splitlines()[-1].partition("-m gateway ")[2].split())


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ((), "serve"),
        (("PORT=5001",), "serve --port '5001'"),
        (("CONFIG=config.ini",), "serve --config 'config.ini'"),
        (("CONFIG=config.ini", "PORT=5001"), "serve --config 'config.ini' --port '5001'"),
    ],
)
def test_a_configuration_and_a_port_count_only_when_given(
    arguments: tuple[str, ...], command: str
) -> None:
    assert recipe(*arguments) == command


def test_a_port_of_the_environment_is_given_too() -> None:
    assert recipe(PORT="5002") == "serve --port '5002'"


def test_the_local_configuration_is_ignored_by_git() -> None:
    lines = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert "/config.local.yaml" in lines
