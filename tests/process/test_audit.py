"""What `make audit` says of what pip-audit does, above all when that could look nothing up."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(lock.name for lock in (ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"[\w.-]+(?:\[[\w, -]+\])?==[^\s;]+")  # with extras: name[one, two]==1.0
UNREACHABLE = 'echo "traceback" >&2; echo "no route to host" >&2; exit 1'
VULNERABLE = 'echo "aiohttp 3.14.5 GHSA-0000" > "$output"; exit 1'

# Takes the options of pip-audit that matter here, and keeps a copy of what it is to look up.
PIP_AUDIT = """#!/bin/sh
echo "$@" >> {folder}/arguments
while [ $# -gt 0 ]; do
    case $1 in
        --requirement) lock=$2; cp "$2" {folder}; shift ;;
        --output) output=$2; shift ;;
    esac
    shift
done
case $lock in *{chosen}) {then} ;; esac
exit 0
"""


def audit(folder: Path, chosen: str, then: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a pip-audit that does something else with locks of that name."""
    tool = folder / "pip-audit"
    tool.write_text(PIP_AUDIT.format(folder=folder, chosen=chosen, then=then), "utf-8")
    tool.chmod(0o755)
    return subprocess.run(
        ["sh", ROOT / "requirements/audit.sh", tool, "--timeout", "5"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_lock_is_looked_up_whole(tmp_path: Path) -> None:
    result = audit(tmp_path, "none", "exit 1")
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == LOCKS
    for name in LOCKS:
        original = (ROOT / "requirements" / name).read_text("utf-8").splitlines()
        given = (tmp_path / name).read_text("utf-8").splitlines()
        pins = [pin[0] for line in original if (pin := PIN.match(line))]
        assert [line for line in given if not line.startswith(" ")] == [f"{p} \\" for p in pins]
        assert f"{name}: {len(pins)} packages" in result.stdout
    for line in (tmp_path / "arguments").read_text("utf-8").splitlines():
        assert {"--strict", "--require-hashes", "--disable-pip"} <= set(line.split())
        assert line.endswith("--timeout 5")


def test_a_known_vulnerability_is_shown_and_the_other_locks_are_looked_up(tmp_path: Path) -> None:
    result = audit(tmp_path, "runtime.txt", VULNERABLE)
    assert (result.returncode, result.stderr) == (1, "")
    assert "runtime.txt: known vulnerabilities\naiohttp 3.14.5 GHSA-0000" in result.stdout
    assert result.stdout.count("nothing known") == len(LOCKS) - 1


@pytest.mark.parametrize("lock", LOCKS)
def test_a_service_that_cannot_be_reached_is_no_success(tmp_path: Path, lock: str) -> None:
    result = audit(tmp_path, f"/{lock}", UNREACHABLE)
    assert result.returncode == 2
    assert f"{lock} could not be looked up: no route to host" in result.stderr
    assert f"{lock}:" not in result.stdout
    assert result.stdout.count("nothing known") == LOCKS.index(lock)


def test_a_vulnerability_before_a_failure_is_shown_too(tmp_path: Path) -> None:
    then = f"case $lock in */{LOCKS[0]}) {VULNERABLE} ;; esac; {UNREACHABLE}"
    result = audit(tmp_path, "", then)
    assert result.returncode == 2
    assert "GHSA-0000" in result.stdout
    assert f"{LOCKS[1]} could not be looked up" in result.stderr
