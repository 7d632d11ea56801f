"""Writes the first files of a gateway: its configuration, and each secret for itself."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from gateway.init.questions import FirstAccount
from gateway.store.owners import give_to_owner, make_folder

_TEXT = """\
# Written by fitten-gateway init. docs/configuration.md explains every option.

server: {{host: 127.0.0.1, port: {port}}}

fitten:
  accounts:      # one or several, which share the requests: docs/accounts.md
    - username: {username}
      password: {password}
  state_file: {state_file}

# Keys that are made at run time are here, and who used how much: docs/team.md
store: {{url: "sqlite:///state/team.db"}}

admin: {{listen: "127.0.0.1:{admin_port}"}}

# The middlewares that every request passes, the first one outermost.
middlewares:
  - request_id
  - request_log
  - cors: {{allow_origins: []}}
  - api_key: {{keys: []}}      # keys are made by: fitten-gateway keys add NAME
  - rate_limit:
      requests_per_minute: 60      # chats
      completions_per_minute: 300
      listings_per_minute: 120     # models, token counts and the like
      concurrency: 8
"""


@dataclass(frozen=True, slots=True)
class FirstFiles:
    """Names the files of a gateway that is set up: all are beside its configuration."""

    config: Path

    @property
    def folder(self) -> Path:
        """Return the folder of the configuration."""
        return self.config.absolute().parent

    @property
    def username(self) -> Path:
        """Return the file of the account's name."""
        return self.folder / "secrets" / "fitten-username"

    @property
    def password(self) -> Path:
        """Return the file of the account's password."""
        return self.folder / "secrets" / "fitten-password"

    @property
    def store(self) -> Path:
        """Return the database."""
        return self.folder / "state" / "team.db"

    def existing(self) -> list[Path]:
        """Return which of the files exist already, links included."""
        files = (self.config, self.username, self.password, self.store)
        return [file for file in files if os.path.lexists(file)]

    def unfit(self) -> str | None:
        """Return why the configuration cannot name files in this folder, or None."""
        if any(not c.isprintable() or c in "{}$" for c in str(self.folder)):
            return f"{self.folder} has a character that cannot stand in a configuration"
        return None

    def write(self, account: FirstAccount, *, port: int, admin_port: int) -> None:
        """Write secrets and configuration with mode 0600; none of them may exist.

        Raises OSError; then nothing is left.
        """
        written = {
            self.username: account.username + "\n",
            self.password: account.password + "\n",
            self.config: _TEXT.format(
                port=port,
                admin_port=admin_port,
                username=_secret(self.username),
                password=_secret(self.password),
                state_file=json.dumps(str(self.store.with_name("fitten.json")), ensure_ascii=False),
            ),
        }
        with contextlib.ExitStack() as undo:
            for file, text in written.items():
                make_folder(file.absolute().parent)
                _write(file, text)
                undo.callback(_remove, file)
            undo.pop_all()

    def remove(self) -> None:
        """Remove what `write` has written."""
        for file in (self.config, self.username, self.password):
            _remove(file)
        with contextlib.suppress(OSError):
            self.password.parent.rmdir()


def _secret(file: Path) -> str:
    return json.dumps(f"${{file:{file}}}", ensure_ascii=False)


def _write(file: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(file, flags, 0o600), "w", encoding="utf-8") as opened:
        give_to_owner(opened.fileno(), file.absolute().parent)
        opened.write(text)


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
