"""The lock that shows which processes use a state file."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.store.state_lock import StateLock
from tests.waiting import LONGEST_WAIT

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "fitten.json"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def alone(stack: ExitStack, path: Path) -> bool:
    """Take the lock until the end of the test; return whether nobody else held it."""
    return stack.enter_context(StateLock()).take(path)


def test_the_first_user_is_alone_and_a_second_is_not(stack: ExitStack, path: Path) -> None:
    assert [alone(stack, path), alone(stack, path)] == [True, False]


def test_a_user_that_came_second_is_seen_when_the_first_has_gone(
    stack: ExitStack, path: Path
) -> None:
    with StateLock() as first:
        first.take(path)
        alone(stack, path)
    assert not alone(stack, path)


def test_after_the_last_user_the_next_one_is_alone_though_the_file_stays(path: Path) -> None:
    with StateLock() as lock:
        lock.take(path)
    assert path.with_name("fitten.json.lock").exists()
    with StateLock() as lock:
        assert lock.take(path)


def test_another_state_file_has_another_lock(stack: ExitStack, path: Path) -> None:
    alone(stack, path)
    assert alone(stack, path.with_name("other.json"))


def test_the_lock_follows_the_state_file_and_the_former_one_is_free(
    stack: ExitStack, path: Path
) -> None:
    moved = stack.enter_context(StateLock())
    assert moved.take(path)
    assert moved.take(path)  # it does not meet itself
    assert moved.take(path.with_name("other.json"))
    assert alone(stack, path)
    assert not alone(stack, path.with_name("other.json"))


def test_the_lock_ends_with_a_process_that_is_killed(path: Path) -> None:
    script = (
        "import sys, pathlib, time; from gateway.store.state_lock import StateLock; "
        "lock = StateLock(); lock.take(pathlib.Path(sys.argv[1])); print('held', flush=True); "
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with StateLock() as lock:
            assert not lock.take(path)
        process.send_signal(signal.SIGKILL)
        process.wait(LONGEST_WAIT)
    with StateLock() as lock:
        assert lock.take(path)


def test_of_users_that_start_at_once_at_most_one_is_alone_and_all_get_the_lock(path: Path) -> None:
    for _ in range(20):
        locks = [StateLock() for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda lock: lock.take(path), locks))
        with StateLock() as later:
            assert not later.take(path)
        assert sum(found) <= 1
        for lock in locks:
            lock.close()


def test_a_folder_that_cannot_be_written_raises_and_the_former_lock_is_kept(
    stack: ExitStack, path: Path, tmp_path: Path
) -> None:
    lock = stack.enter_context(StateLock())
    lock.take(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        lock.take(tmp_path / "file" / "fitten.json")
    assert not alone(stack, path)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_file_is_not_locked(path: Path, kind: str) -> None:
    place = path.with_name("fitten.json.lock")
    path.parent.mkdir()
    if kind == "link":
        place.symlink_to(path.parent / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    with StateLock() as lock, pytest.raises(OSError, match=r"regular|symbolic|directory"):
        lock.take(path)
    assert not (path.parent / "elsewhere").exists()


def test_a_program_that_keeps_the_lock_to_itself_is_not_waited_for(path: Path) -> None:
    path.parent.mkdir()
    with path.with_name("fitten.json.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with StateLock() as lock, pytest.raises(BlockingIOError):
            lock.take(path)
