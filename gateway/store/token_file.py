"""The file in which an account's tokens survive a restart."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

_log = structlog.get_logger("session")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a request to Fitten needs. `expires_at` is wall-clock seconds, None if unknown."""

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


class _OfOne(_Entry):
    """What the file was when there was one account: its entry, with its name within."""

    account: str


class TokenFile:
    """One account's part of a JSON file with mode 0600, which is replaced as a whole.

    owner: whose tokens they are (server and user name); others' are not taken.
    others: whose tokens are kept when these are saved; those of nobody known are dropped.
    Several of these, in several processes, may have one file: a save holds a lock. Both
    methods block on the disk: call them in a thread.
    """

    def __init__(self, path: Path, owner: str, *, others: Iterable[str] = ()) -> None:
        self._path = path
        self._account = _name(owner)
        self._kept = {_name(other) for other in others}

    def load(self) -> Tokens | None:
        """The stored tokens of this account. A broken file is set aside with a warning."""
        entry = self._read().get(self._account)
        if entry is None:
            return None
        return Tokens(entry.user_id, entry.access_token, entry.refresh_token, entry.expires_at)

    def save(self, tokens: Tokens) -> None:
        """Write the tokens. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._path.parent):
            found = self._read()
            kept = {name: entry for name, entry in found.items() if name in self._kept}
            kept[self._account] = _Entry(
                tokens.user_id, tokens.access_token, tokens.refresh_token, tokens.expires_at
            )
            self._write(msgspec.json.encode(_Content(kept)))

    def _read(self) -> dict[str, _Entry]:
        try:
            return _parse(self._path.read_bytes())
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


def _parse(raw: bytes) -> dict[str, _Entry]:
    """What a file says. Raises ValueError, RecursionError."""
    try:
        return msgspec.json.decode(raw, type=_Content).accounts
    except msgspec.ValidationError:
        alone = msgspec.json.decode(raw, type=_OfOne)
        entry = _Entry(alone.user_id, alone.access_token, alone.refresh_token, alone.expires_at)
        return {alone.account: entry}


def _name(owner: str) -> str:
    """How an account is named in the file: not so that it could be read."""
    return hashlib.sha256(owner.encode()).hexdigest()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among all that save in this folder, threads and processes alike.

    The folder itself is locked, so that no file of a lock is left lying about.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which unlocks
