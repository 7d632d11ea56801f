"""Reads secrets from files: systemd's credentials, and files that only the owner may read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

DIRECTORY = "CREDENTIALS_DIRECTORY"  # systemd.exec(5)
_MAX_BYTES = 64 * 1024  # bytes
_NAME = re.compile(r"(?!\.)[\w.-]{1,255}", re.ASCII)


class SecretUnreadable(Exception):
    """Reports that a secret cannot be read; the text says why and what to do."""


def read_credential(name: str, environ: Mapping[str, str]) -> str:
    """Read a secret from the service's credentials directory, which systemd fills.

    Raises SecretUnreadable.
    """
    if not _NAME.fullmatch(name):
        # Not shown: it may be the secret itself.
        raise SecretUnreadable(
            "${credential:...} needs the name of a credential: letters, digits, '-', '_' and '.'"
        )
    folder = environ.get(DIRECTORY, "")
    if not folder:
        raise SecretUnreadable(
            f"there is no credential {name}: systemd must start the service with "
            f"LoadCredential={name}:/path"
        )
    # Permissions are not checked: systemd sets them, and shows an access list as the group's.
    return _read(Path(folder) / name, f"the credential {name}", private=False)


def read_secret_file(path: str, environ: Mapping[str, str]) -> str:
    """Read a secret from a file that only its owner may read. Raises SecretUnreadable."""
    if not path.startswith("/"):
        raise SecretUnreadable("${file:...}: the path must begin with /")
    folder = environ.get(DIRECTORY, "")
    inside = bool(folder) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    return _read(Path(path), f"the file {path}", private=not inside)


def _read(path: Path, what: str, *, private: bool) -> str:
    """Read a small regular file, without a line end at its end."""
    try:
        # O_NONBLOCK: opening a pipe without a writer would hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise SecretUnreadable(f"{what} is not a regular file")
            if private and found.st_mode & 0o077:
                raise SecretUnreadable(f"{what} can be read by other users: chmod 600")
            data = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SecretUnreadable(f"{what} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise SecretUnreadable(f"{what} is larger than {_MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretUnreadable(f"{what} is not text in UTF-8") from None
    if not text or "\0" in text:
        raise SecretUnreadable(f"{what} is empty" if not text else f"{what} has a NUL character")
    return text
