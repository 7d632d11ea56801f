"""Gives files that root makes to the owner of their folder, who must be able to use them.

An administrator runs commands on the files of a service that has a user of its own.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Create a folder, and those above it, for the owner of the nearest one that exists.

    Raises OSError.
    """
    if path.is_dir():
        return
    if not path.parent.exists():
        make_folder(path.parent, mode)
    path.mkdir(mode=mode, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give_to_owner(descriptor, path.parent)
    finally:
        os.close(descriptor)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Give what root has just made to the owner of its folder; nothing for another user.

    Only root's own things are given away, and no file that has a second name: that one could be
    a file elsewhere. Raises OSError.
    """
    if os.geteuid() != 0:
        return
    made, owner = os.fstat(descriptor), os.stat(folder)
    second_name = stat.S_ISREG(made.st_mode) and made.st_nlink > 1
    if made.st_uid == 0 and not second_name and (owner.st_uid, owner.st_gid) != (0, 0):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
