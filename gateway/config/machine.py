"""Checks what the settings need of this machine: files, folders and the address.

Nothing is created or changed. What is right now may be wrong later, so the code that uses a
file still handles its errors.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

_OTHERS = 0o077  # what a mode allows to all but the owner

if TYPE_CHECKING:
    from gateway.config.settings import Config
    from gateway.options import Mistakes


def check_files(config: Config, mistakes: Mistakes) -> None:
    """Report each file of the settings that cannot be used, as a mistake."""
    fitten, records = config.fitten, config.tools.recorder.folder
    faults = {
        "fitten.ca_file": fitten.ca_file and _ca_fault(fitten.ca_file),
        "fitten.state_file": fitten.state_file and _state_fault(fitten.state_file),
        "log.file": config.log.file and _log_fault(config.log.file),
        "tools.recorder.folder": records and _records_fault(records),
    }
    for path, fault in faults.items():
        if fault:
            mistakes.setdefault(path, fault)


def address_fault(host: str) -> str | None:
    """Return why this machine cannot listen on a host, or None. It may ask the name server."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return "is neither an address nor a name that this machine can resolve"
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(where)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return (
                    "is not an address of this machine; "
                    "127.0.0.1 is this machine alone, 0.0.0.0 all its addresses"
                )
    return None


def _ca_fault(name: str) -> str | None:
    import ssl

    try:
        ssl.create_default_context(cafile=name)
    except ssl.SSLError:  # an OSError too
        return "has no certificates in PEM form"
    except (OSError, ValueError) as error:
        return _cannot_be("read", error)
    return None


def _log_fault(name: str) -> str | None:
    try:
        path = Path(name)
        if path.is_dir():
            return "is a folder, not a file"
        if path.exists():
            return None if os.access(path, os.W_OK) else "cannot be written: Permission denied"
        return _folder_fault(path.parent)
    except (OSError, ValueError) as error:
        return _cannot_be("written", error)


def _state_fault(name: str) -> str | None:
    """Return why tokens cannot be stored in a file. Its folder is created when it is needed."""
    try:
        path = Path(name)
        if path.exists() and not path.is_file():
            return "is not a file"
        return _new_folder_fault(path.parent)
    except (OSError, ValueError) as error:
        return _cannot_be("written", error)


def _records_fault(name: str) -> str | None:
    """Return why records of answers cannot be kept in a folder. It is created when needed."""
    try:
        path = Path(name)
        if path.exists() and not path.is_dir():
            return "is not a folder"
        if path.exists() and path.stat().st_mode & _OTHERS:
            return "is open to other users, and answers are not for them; use chmod 700"
        return _new_folder_fault(path)
    except (OSError, ValueError) as error:
        return _cannot_be("written", error)


def _new_folder_fault(folder: Path) -> str | None:
    """Return why a folder cannot be written to or, if there is none, cannot be created."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return _folder_fault(folder)


def _folder_fault(folder: Path) -> str | None:
    if not folder.exists():
        return f"cannot be written: there is no folder {folder}"
    if not folder.is_dir():
        return f"cannot be written: {folder} is not a folder"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"{folder} is not writable"


def _cannot_be(what: str, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else "not the name of a file"
    return f"cannot be {what}: {reason or type(error).__name__}"
