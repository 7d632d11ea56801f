"""Tells in which scopes the requests of a sender count: its own, its team's, the gateway's."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.keys.directory import KeyDirectory
from gateway.limits.claims import Scope
from gateway.principal import Principal


def caller_scopes(
    principal: Principal,
    defaults: Mapping[str, int],
    teams: Mapping[str, Scope],
    keys: KeyDirectory,
    now_ms: int,
) -> tuple[Scope, ...]:
    """Return the scopes of a sender and of its team, with the limits and grants of today.

    defaults: limits of senders that have none of the same name.
    teams: those of the configuration, by name. keys: knows those of the store.
    now_ms: the time, in milliseconds since 1970.
    """
    limits = {**defaults, **principal.limits} if principal.limits else defaults
    if principal.grants:
        limits = {name: limit + principal.grants.get(name, 0) for name, limit in limits.items()}
    own = Scope(f"key {principal.id}", limits)
    if principal.team_id:
        team_limits = keys.limits_of_team(principal.team_id, now_ms)
        return own, Scope(f"team {principal.team_id}", team_limits)
    if principal.team is not None:
        # Middlewares may know other teams than the configuration.
        return own, teams.get(principal.team) or Scope(f"team {principal.team}", {})
    return (own,)
