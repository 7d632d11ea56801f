"""`make test` runs all of its parts and says which have failed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).with_name("parts.sh")


def run(folder: Path, *groups: str) -> subprocess.CompletedProcess[str]:
    """Run the groups with a `make` that fails for names that begin with "bad"."""
    make = folder / "make"
    make.write_text('#!/bin/sh\necho "made $2"\ncase $2 in bad*) exit 2 ;; esac\n')
    make.chmod(0o755)
    return subprocess.run(
        ["sh", str(SCRIPT), *groups],
        env={**os.environ, "MAKE": str(make)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_part_is_made_and_those_that_failed_are_named(tmp_path: Path) -> None:
    done = run(tmp_path, "bad1", "good1", "bad2+good2+bad3", "good3")
    made = [line for line in done.stdout.splitlines() if line.startswith("made ")]
    assert made == [f"made {name}" for name in ["bad1", "good1", "bad2", "good2", "bad3", "good3"]]
    assert done.stderr == "failed: bad1 bad2 bad3\n"
    assert done.returncode == 1


def test_nothing_is_said_when_no_part_failed(tmp_path: Path) -> None:
    done = run(tmp_path, "good1+good2", "good3")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_that_is_stopped_shows_what_its_parts_had_printed(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "made $2"\ncase $2 in slow) exec sleep 600 ;; esac\n')
    make.chmod(0o755)
    process = subprocess.Popen(
        ["sh", str(SCRIPT), "good+slow"],
        env={**os.environ, "MAKE": str(make)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        while "made good" not in process.stdout.readline():
            pass
        os.killpg(process.pid, signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert rest.splitlines()[:2] == ["== slow (stopped)", "made slow"]
    assert process.returncode == 130
