"""A test that waits for ever fails by its name, also while the event loop is idle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

HANGS = """
import asyncio
import pytest
import uvloop
from tests.hanging import limit_waits as pytest_collection_modifyitems

def pytest_asyncio_loop_factories():
    return {"uvloop": uvloop.new_event_loop}
"""

TESTS = """
import asyncio
import pytest

@pytest.mark.timeout(10.5)
async def test_that_waits_for_ever():
    await asyncio.Event().wait()

async def test_after_it():
    pass
"""


def test_a_test_that_waits_for_ever_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HANGS)
    (tmp_path / "test_it.py").write_text(TESTS)
    settings = ["-o", "timeout=60", "-o", "asyncio_mode=auto", "-o", f"pythonpath={ROOT}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *settings, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "TimeoutError" in done.stdout
    assert "FAILED test_it.py::test_that_waits_for_ever" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
