"""Stores the tokens of accounts in a file, so that they survive a restart."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

_log = structlog.get_logger("session")

_MAX_SIZE = 16 * 1024 * 1024  # bytes of the file; an account takes a few KB


@dataclass(frozen=True, slots=True)
class Tokens:
    """Holds what a request to Fitten needs.

    expires_at: when the access token expires, in wall-clock seconds; None if unknown.
    """

    user_id: str
    access_token: str
    refresh_token: str
    expires_at: float | None = None


class _Entry(msgspec.Struct):
    user_id: str
    access_token: str
    refresh_token: str
    expires_at: float | None


class _Content(msgspec.Struct):
    accounts: dict[str, _Entry]


class _SingleAccountContent(_Entry):
    """Describes the file of earlier versions, which had one account: its entry and name."""

    account: str


class TokenFile:
    """Reads and writes the tokens of one account in a JSON file with mode 0600.

    owner: the account (server and user name). Only its tokens are loaded.
    others: accounts whose tokens in the file are kept by `save`. The tokens of all other
        accounts are removed.

    `save` replaces the whole file and holds a lock while it does. So several objects, in
    several processes, may use one file. Both methods block on the disk: call them in a thread.
    """

    def __init__(self, path: Path, owner: str, *, others: Iterable[str] = ()) -> None:
        self._path = path
        self._account = _hashed(owner)
        self._others = {_hashed(other) for other in others}

    def load(self) -> Tokens | None:
        """Return the stored tokens of this account, or None.

        A damaged file is renamed to `<name>.broken`, with a warning in the log.
        """
        entry = self._read().get(self._account)
        if entry is None:
            return None
        return Tokens(entry.user_id, entry.access_token, entry.refresh_token, entry.expires_at)

    def save(self, tokens: Tokens) -> None:
        """Write the tokens of this account. Raises OSError.

        What stands in the place of the file is replaced only if it is a file: not a device.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._path.parent):
            if self._path.exists() and not self._path.is_file():
                raise _not_a_file_error()
            stored = self._read()
            kept = {name: entry for name, entry in stored.items() if name in self._others}
            kept[self._account] = _Entry(
                tokens.user_id, tokens.access_token, tokens.refresh_token, tokens.expires_at
            )
            self._write(msgspec.json.encode(_Content(kept)))

    def _read(self) -> dict[str, _Entry]:
        try:
            return _parse(_read_regular_file(self._path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            _log.warning("token_file_not_read", file=str(self._path), reason=error.strerror)
            return {}
        except (ValueError, RecursionError):
            aside = self._path.with_name(self._path.name + ".broken")
            with contextlib.suppress(OSError):
                self._path.replace(aside)
            _log.warning("token_file_broken", file=str(self._path), set_aside_as=str(aside))
            return {}

    def _write(self, raw: bytes) -> None:
        new = self._path.with_name(self._path.name + ".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


def _read_regular_file(path: Path) -> bytes:
    """Return the content of a file. Raises OSError, also for what is no file or is too large.

    Opening a FIFO would wait for its other end, for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_a_file_error()
        raw = file.read(_MAX_SIZE + 1)
    if len(raw) > _MAX_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return raw


def _not_a_file_error() -> OSError:
    return OSError(errno.EINVAL, "it is not a regular file")


def _parse(raw: bytes) -> dict[str, _Entry]:
    """Return the entries of a file by account. Raises ValueError or RecursionError."""
    try:
        return msgspec.json.decode(raw, type=_Content).accounts
    except msgspec.ValidationError:
        old = msgspec.json.decode(raw, type=_SingleAccountContent)
        entry = _Entry(old.user_id, old.access_token, old.refresh_token, old.expires_at)
        return {old.account: entry}


def _hashed(owner: str) -> str:
    """Return the key of an account in the file: a hash, so that the file shows no user name."""
    return hashlib.sha256(owner.encode()).hexdigest()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of this folder, against other threads and other processes.

    The folder itself is locked, so that no lock file is left behind.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # releases the lock
