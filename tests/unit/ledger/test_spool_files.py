"""A lock shows whether the process of a spool lives, and no other file is taken for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gateway.ledger.spool import Spool
from gateway.ledger.spool_files import (
    SpoolFile,
    held_if_gone,
    hold_process_lock,
    lock_name,
    spool_files,
)

ROOT = Path(__file__).parents[3]

HOLD = """
import pathlib, sys
from gateway.ledger.spool import Spool

spool = Spool(pathlib.Path(sys.argv[1]), "main")
print(spool.process, flush=True)
sys.stdin.readline()
"""


def test_only_files_with_names_of_a_spool_are_read_in_the_order_of_each_process(
    tmp_path: Path,
) -> None:
    names = ["b-1.000002.jsonl", "b-1.000001.jsonl", "a-1.000010.jsonl"]
    for name in [*names, "A.000001.jsonl", "a.1.jsonl", "a-1.lock", "writer", "x.jsonl"]:
        (tmp_path / name).write_text("12345")
    assert spool_files(tmp_path) == [
        SpoolFile("a-1", 10, 5),
        SpoolFile("b-1", 1, 5),
        SpoolFile("b-1", 2, 5),
    ]
    assert [file.name for file in spool_files(tmp_path)] == sorted(names)


def test_a_process_lives_until_the_system_has_ended_it(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    process = child.stdout.readline().strip()
    with held_if_gone(tmp_path, process) as gone:
        assert not gone
    child.kill()
    child.communicate(timeout=60)
    with held_if_gone(tmp_path, process) as gone:
        assert gone
    with held_if_gone(tmp_path, "nobody-1") as gone:
        assert gone


def test_a_lock_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    removed = tmp_path / lock_name("p-1")
    first = hold_process_lock(tmp_path, "p-1")
    removed.unlink()
    second = hold_process_lock(tmp_path, "p-1")
    assert os.stat(removed).st_ino == os.fstat(second).st_ino
    os.close(first)
    with held_if_gone(tmp_path, "p-1") as gone:
        assert not gone
    os.close(second)


def test_two_spools_of_one_process_have_names_of_their_own(tmp_path: Path) -> None:
    spools = [Spool(tmp_path, "main") for _ in range(2)]
    assert len({spool.process for spool in spools}) == 2
    assert len(spool_files(tmp_path)) == 2
    for spool in spools:
        spool.close()
