"""Defines the settings of the store, and of the ledger and the audit in it.

Commands that only read the store import this, and not what serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from gateway.options import Between


class _StoreUrl:
    """Requires `none`, or the address of a SQLite file."""

    def fault(self, value: str) -> str | None:
        file = value.removeprefix("sqlite:///")
        good = value == "none" or (file != value and file.strip("/") and not file.endswith("/"))
        if good and not any(c in "?#\0" for c in value):
            return None
        return "expected none, or an address like sqlite:///var/team.db or sqlite:////srv/team.db"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Sets where the database is that keeps the ledger.

    url: `sqlite:///` and a path, which is relative to the configuration file unless it begins
        with another slash; `none` for no database; None for team.db beside the state file.
    """

    url: Annotated[str, _StoreUrl()] | None = None

    def below(self, folder: Path) -> StoreSettings:
        """Return the settings with a path that does not depend on the configuration file."""
        file = self.file
        if file is None or file.is_absolute():
            return self
        return StoreSettings(url=f"sqlite:///{folder / file}")

    @property
    def file(self) -> Path | None:
        """Return the path in the address, if there is one."""
        if self.url is None or self.url == "none":
            return None
        return Path(self.url.removeprefix("sqlite:///"))

    def file_beside(self, state_file: Path) -> Path | None:
        """Return the database, by default beside the state file; None for no store."""
        return state_file.with_name("team.db") if self.url is None else self.file


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Sets what the ledger keeps.

    detail: `rows` for a row per request and sums by day; `days` for the sums only.
    keep_days: how long a row is kept. Sums are kept for ever.
    refused: whether a request that was refused is a row too, if its key is known.
    """

    detail: Literal["rows", "days"] = "rows"
    keep_days: Annotated[int, Between(1, 3650, "days", 90)] = 90
    refused: bool = True


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Sets how long the store keeps who changed which key or team."""

    keep_days: Annotated[int, Between(1, 3650, "days", 365)] = 365


def state_file(named: str | None, environ: Mapping[str, str]) -> Path:
    """Return the file that keeps tokens over a restart.

    named: its name in the configuration. Unless given, it is in systemd's state directory, or in
        `state` without systemd.
    """
    if named:
        return Path(named)
    return Path(environ.get("STATE_DIRECTORY", "state").split(":")[0]) / "fitten.json"
