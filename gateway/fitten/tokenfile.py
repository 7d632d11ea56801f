"""The file in which an account's tokens survive a restart."""

from __future__ import annotations

import contextlib
import hashlib
import os
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


class _Content(msgspec.Struct):
    account: str
    user_id: str
    access_token: str
    refresh_token: str
    expires_at: float | None


class TokenFile:
    """A JSON file with mode 0600, replaced as a whole.

    owner: whose tokens they are (server and user name); others' are not taken.
    Both methods block on the disk: call them in a thread.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        self._account = hashlib.sha256(owner.encode()).hexdigest()

    def load(self) -> Tokens | None:
        """The stored tokens of this account. A broken file is set aside with a warning."""
        try:
            content = msgspec.json.decode(self._path.read_bytes(), type=_Content)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("token_file_not_read", file=str(self._path), reason=error.strerror)
            return None
        except (ValueError, RecursionError):
            aside = self._path.with_name(self._path.name + ".broken")
            with contextlib.suppress(OSError):
                self._path.replace(aside)
            _log.warning("token_file_broken", file=str(self._path), set_aside_as=str(aside))
            return None
        if content.account != self._account:
            return None
        return Tokens(
            content.user_id, content.access_token, content.refresh_token, content.expires_at
        )

    def save(self, tokens: Tokens) -> None:
        """Write the tokens. Raises OSError."""
        content = _Content(
            self._account,
            tokens.user_id,
            tokens.access_token,
            tokens.refresh_token,
            tokens.expires_at,
        )
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_name(self._path.name + ".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(content))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
