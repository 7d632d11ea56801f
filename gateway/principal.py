"""Defines the principal: who sent a request, and what that key may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Describes who sent a request, as a middleware has authenticated it.

    Requests share one object, so nothing in it can be changed.

    id: what limits and the queue count by. It stays the same when the key is replaced.
    name: what logs show. It is not a secret.
    team: the team's name; None without a team.
    limits: numbers by the name of the limit; empty for none.
    grants: what is added to limits that the sender has from elsewhere, such as the defaults of
        rate_limit. `limits` have their grants in them.
    models: the ids of the models that are allowed; None for all, empty for none.
    routes: the names of the routes that are allowed, as the ledger has them; see `ROUTE_NAMES`.
    record: whether answers that could not be read may be kept in files; see `tools.recorder`.
    source: where the principal is defined: `config` for the keys of config.yaml, `store` for
        those that are made at run time.
    key_id, team_id: ids that stay the same when names change; empty for those of config.yaml.
    """

    id: str
    name: str
    team: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict, hash=False)
    grants: Mapping[str, int] = field(default_factory=dict, hash=False)
    models: frozenset[str] | None = None
    routes: frozenset[str] | None = None
    record: bool = False
    source: str = "middleware"
    key_id: str = ""
    team_id: str = ""

    def __post_init__(self) -> None:
        for name in ("limits", "grants"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
