"""Shows what would decide a request of a key now: each limit, what is left, and what refuses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.admin.api.call import AdminCall
from gateway.admin.api.resources.key_views import config_keys
from gateway.admission.permissions import check_route
from gateway.admission.refusal import named_scope, refusal
from gateway.admission.scopes import caller_scopes
from gateway.config.settings import Config
from gateway.errors import GatewayError
from gateway.keys.errors import UnknownObject
from gateway.limits.claims import Scope, Standing
from gateway.limits.names import Kind
from gateway.principal import Principal

Route = Literal["chat", "completion", "fim", "infill"]


class LimitsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Describes a request. key: a name or an id. route: as the ledger has it."""

    key: Annotated[str, Meta(min_length=1, max_length=200)]
    route: Route = "chat"


class LimitStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Describes one limit: whose it is, and how much of it is used.

    scope: `key NAME`, `team NAME` or `gateway`.
    resets_in: seconds until nothing is used; resets_at: the same as a local time.
    """

    scope: str
    limit: str
    maximum: int
    used: int
    left: int
    resets_in: float
    resets_at: str


class CheckedRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Describes the error that a client would get. retry_after: in seconds, if that is known."""

    status: int
    code: str | None
    message: str
    retry_after: float | None


class LimitsReport(msgspec.Struct, frozen=True, kw_only=True):
    """Describes what decides the requests of a key.

    refused: what a small request would get now; None if it would be admitted.
    models, routes: what is allowed; None for all.
    limits: those of key, team and gateway, defaults and raises of today included.
    """

    key: str
    id: str | None
    team: str | None
    source: str
    route: Route
    refused: CheckedRefusal | None
    models: list[str] | None
    routes: list[str] | None
    limits: list[LimitStanding]


async def check_limits(call: AdminCall) -> LimitsReport:
    """Return what would decide a request of a key now. Nothing is counted."""
    now, config = time.time(), call.node.config
    principal, fault = _sender(call, int(now * 1000))
    teams = {team.name: Scope(f"team {team.name}", team.by_name()) for team in config.teams}
    scopes = (
        *caller_scopes(
            principal, limit_defaults(config), teams, call.node.directory, int(now * 1000)
        ),
        Scope("gateway", config.limits.by_name()),
    )
    if fault is None:
        fault = _fault(call, principal, scopes)
    standings = call.node.standings(scopes)
    return LimitsReport(
        key=principal.name,
        id=principal.key_id or None,
        team=principal.team,
        source=principal.source,
        route=call.query.route,
        refused=None
        if fault is None
        else CheckedRefusal(
            status=fault.status,
            code=fault.code,
            message=fault.message,
            retry_after=fault.retry_after,
        ),
        models=None if principal.models is None else sorted(principal.models),
        routes=None if principal.routes is None else sorted(principal.routes),
        limits=[_shown(standing, principal, config, now) for standing in standings],
    )


def limit_defaults(config: Config) -> Mapping[str, int]:
    """Return the limits of keys that have none of their own: those of `rate_limit`."""
    found: dict[str, int] = {}
    for entry in config.middlewares:
        if entry.name == "rate_limit":
            for name, maximum in getattr(entry.build(), "limits", {}).items():
                found[name] = min(maximum, found.get(name, maximum))
    return found


def _sender(call: AdminCall, now_ms: int) -> tuple[Principal, GatewayError | None]:
    """Return who would send the request, and why the key itself would be refused."""
    wanted, directory = call.query.key, call.node.directory
    keys = [key for key in directory.table.keys if key.kind == "api"]
    for key in sorted(keys, key=lambda key: key.id != wanted):  # an id before a name
        if wanted in (key.id, key.name) and (found := directory.principal(key.id, now_ms)):
            try:
                return directory.admit(key.id, now_ms), None
            except GatewayError as error:
                return found, error
    for view in config_keys(call.node.config, "api"):
        if view.name == wanted:
            return (
                Principal(
                    id=view.name,
                    name=view.name,
                    team=None if view.team is None else view.team.name,
                    limits=view.limits,
                    models=None if view.models is None else frozenset(view.models),
                    routes=None if view.routes is None else frozenset(view.routes),
                    source="config",
                ),
                None,
            )
    raise UnknownObject("There is no key of this name or id.")


def _fault(call: AdminCall, principal: Principal, scopes: tuple[Scope, ...]) -> GatewayError | None:
    """Return why a small request of a key that works would be refused; None if it would not."""
    route: Route = call.query.route
    try:
        check_route(principal, route)
    except GatewayError as error:
        return error
    kind: Kind = "chat" if route == "chat" else "completion"
    verdict = call.node.look(scopes, kind)
    return None if verdict is None else refusal(verdict, call.node.config.time_zone, principal)


def _shown(standing: Standing, principal: Principal, config: Config, now: float) -> LimitStanding:
    resets_at = datetime.fromtimestamp(now + standing.resets, config.time_zone)
    return LimitStanding(
        scope=named_scope(standing.scope, principal),
        limit=standing.limit,
        maximum=standing.maximum,
        used=standing.used,
        left=standing.left,
        resets_in=round(standing.resets, 3),
        resets_at=resets_at.isoformat(timespec="seconds"),
    )
