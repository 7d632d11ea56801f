"""`make chaos` and `make soak` in short: the same programs, about a minute of both together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LONGEST = 300.0  # seconds of one run on a busy machine; about half a minute otherwise


def run(*command: str) -> str:
    """What a run prints; it must have found nothing wrong."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=_LONGEST)
    finally:
        if process.poll() is None:  # with the gateway and the emulator that it has started
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, printed
    return printed


# Slow on purpose: a gateway has to be reloaded, restarted and killed under load, and accounts
# have to pause and come back; none of that can be had without the time it takes.
@pytest.mark.timeout(_LONGEST + 10)
def test_under_faults_reloads_restarts_and_kills_the_records_agree(tmp_path: Path) -> None:
    table = run("chaos.run", "--short", "--rate", "20", "--keep", str(tmp_path))
    assert table.count("client, arrivals, log, ledger, proxy, emulator agree") == 2
    for event in ("reload", "restart", "kill", "idle"):
        assert f"{event} at" in table


# Slow on purpose: growth shows only over a time in which memory could have stayed.
@pytest.mark.timeout(_LONGEST + 10)
def test_memory_stays_under_streams_and_short_requests() -> None:
    table = run(
        *("chaos.soak", "--minutes", "0.25", "--streams", "20", "--rate", "10"),
        *("--growth", "1.15"),  # a young process still grows into its buffers
    )
    assert "client, arrivals, log, ledger, proxy, emulator agree" in table
