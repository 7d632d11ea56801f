"""Prints the interpreter that a .venv made by this one would use.

With --check, it says on stderr why the service could not reach it, and exits with status 1.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# ProtectHome= and PrivateTmp= of the unit hide these.
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")


def base() -> Path:
    """Return the path of the interpreter itself, also when this runs in a virtual environment."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable)


def obstacle(path: Path, hidden: tuple[str, ...] = HIDDEN) -> str | None:
    """Return why the service, which is a user of its own, cannot read this file; None if it can."""
    for unseen in hidden:
        if path.is_relative_to(unseen):
            return f"{path} is below {unseen}, which the service does not see"
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return f"{folder} is closed to other users"
    return None if path.stat().st_mode & 0o004 else f"{path} cannot be read by other users"


def main(arguments: list[str]) -> int:
    """Print the path, and with --check the obstacle; return the exit status."""
    path = base()
    if arguments == ["--check"]:
        # The standard library may be elsewhere than the program.
        needed = (path, path.resolve(), Path(os.__file__).resolve())
        problem = next(filter(None, map(obstacle, needed)), None)
        if problem:
            print(
                f"The service cannot use this Python: {problem}. Name another one, for example: "
                "make install-service PYTHON=/usr/bin/python3",
                file=sys.stderr,
            )
            return 1
    print(path.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
