"""Checks out a commit of this repository beside the working tree, and finds its interpreter."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.processes import ROOT, BenchProcessFailed

_LOCK = Path("requirements/runtime.txt")
_CACHE = ROOT / ".cache"


def resolve(name: str) -> str:
    """Return the hash of a commit. Raises BenchProcessFailed."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")
    if found is None:
        raise BenchProcessFailed(
            f"There is no commit {name!r} here: give REV a hash, a branch or a tag."
        )
    return found


def working_tree() -> str:
    """Return a name for the working tree: its commit, and whether files differ from it."""
    name = _git("describe", "--tags", "--always")
    if name is None:
        return "working tree"
    changed = " with changes that are not committed" if _git("status", "--porcelain") else ""
    return f"working tree, {name}{changed}"


def check_out(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a folder; the repository itself notes nothing of it."""
    tree = folder / "tree"
    tree.mkdir()
    index = {"GIT_INDEX_FILE": str(folder / "index")}
    for command in (
        ("read-tree", commit),
        ("checkout-index", "--all", f"--prefix={tree}/"),
    ):
        if _git(*command, environ=index) is None:
            raise BenchProcessFailed(
                f"The files of {commit} could not be written: git {command[0]} failed."
            )
    if not (tree / _LOCK).exists():
        raise BenchProcessFailed(f"{commit} has no {_LOCK}: it is too old to be compared.")
    return tree


def interpreter(tree: Path) -> Path:
    """Return the interpreter for a tree: this one, unless the tree has another lock.

    Then it is one of a virtual environment that is built from that lock and kept.
    Raises BenchProcessFailed.
    """
    lock = (tree / _LOCK).read_bytes()
    if lock == (ROOT / _LOCK).read_bytes():
        return Path(sys.executable)
    place = _CACHE / f"bench-venv-{hashlib.sha256(lock).hexdigest()[:12]}"
    python = place / "bin" / "python"
    if (place / ".done").exists():
        return python
    print(f"Building {place.relative_to(ROOT)} from the commit's lock ...", file=sys.stderr)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    _build([sys.executable, "-m", "venv", "--clear", str(place)])
    _build([*pip, "--require-hashes", "-r", str(tree / _LOCK)])
    (place / ".done").touch()
    return python


def _build(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, timeout=900, check=False)
    except subprocess.TimeoutExpired:
        raise BenchProcessFailed(
            "The commit's packages could not be installed within 15 minutes."
        ) from None
    if done.returncode:
        raise BenchProcessFailed(
            "The commit's packages could not be installed; the reason stands above."
        )


def _git(*words: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return what git printed; None when it failed or is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words],
            env={**os.environ, **(environ or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()
