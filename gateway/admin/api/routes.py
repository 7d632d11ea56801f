"""Lists every route of the admin API. The OpenAPI document is made of this table.

To add one: write a handler in `resources/`, and a line here.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from gateway.admin.api.call import AdminRoute
from gateway.admin.api.resources import (
    accounts,
    audit,
    events,
    grants,
    keys,
    limits_check,
    live,
    node_state,
    requests,
    session,
    teams,
    usage,
)
from gateway.admin.api.resources.key_views import GrantView, IssuedKeyView, KeyView, TeamView
from gateway.admin.node import NodeStatus
from gateway.fitten.account_control import AccountState
from gateway.keys.audit_log import AuditPage
from gateway.keys.changes import KeyChange, NewGrant, NewKey, NewTeam, TeamChange
from gateway.keys.records import KeyKind, Role

BASE = "/admin/api/v1"


def admin_routes() -> Iterator[AdminRoute]:
    """Return the routes, in the order of the document."""
    yield from _key_routes("api", "/keys", "key", NewKey, KeyChange)
    yield from _key_routes(
        "admin", "/admin-keys", "admin key", keys.NewAdminKey, keys.AdminKeyChange
    )
    yield from _team_routes()
    yield from _grant_routes()
    yield from _session_routes()
    yield from _ledger_routes()
    yield from _live_routes()
    yield from _account_routes()
    yield from _node_routes()
    yield AdminRoute(
        method="GET",
        path="/audit",
        handler=audit.list_changes,
        role="admin",
        summary="List changes, the newest first.",
        query=audit.AuditQuery,
        answer=AuditPage,
        errors=(409,),
    )


def _key_routes(
    kind: KeyKind, path: str, noun: str, new: type[Struct], change: type[Struct]
) -> Iterator[AdminRoute]:
    of = keys.KeyRoutes(kind)
    one = f"{path}/{{key}}"
    reader: Role = "viewer" if kind == "api" else "admin"
    yield AdminRoute(
        method="GET",
        path=path,
        handler=of.list_keys,
        role=reader,
        summary=f"List {noun}s, those of config.yaml too.",
        query=keys.KeyQuery,
        answer=keys.KeyPage,
        errors=(409,),
    )
    yield AdminRoute(
        method="POST",
        path=path,
        handler=of.add,
        role="admin",
        summary=f"Make a {noun}. The answer has its text, this once.",
        body=new,
        answer=IssuedKeyView,
        status=201,
        errors=(409,),
        idempotent=True,
    )
    yield AdminRoute(
        method="GET",
        path=one,
        handler=of.show,
        role=reader,
        summary=f"Show a {noun}, by its id or name.",
        answer=KeyView,
        errors=(409,),
    )
    yield AdminRoute(
        method="PATCH",
        path=one,
        handler=of.change,
        role="admin",
        summary=f"Change a {noun}: null clears a field, an absent one stays.",
        body=change,
        answer=KeyView,
        errors=(409,),
        versioned=True,
    )
    yield AdminRoute(
        method="DELETE",
        path=one,
        handler=of.delete,
        role="admin",
        summary=f"Delete a {noun}. What it has used stays in the ledger.",
        status=204,
        errors=(409,),
        versioned=True,
    )
    yield AdminRoute(
        method="POST",
        path=f"{one}/rotate",
        handler=of.rotate,
        role="admin",
        summary=f"Give a {noun} another text; the former one works for a while.",
        body=keys.Rotation,
        answer=IssuedKeyView,
        errors=(409,),
        versioned=True,
        idempotent=True,
    )
    yield AdminRoute(
        method="POST",
        path=f"{one}/block",
        handler=of.block,
        role="admin",
        summary=f"Block a {noun} from its next request on.",
        body=keys.BlockRequest,
        answer=KeyView,
        errors=(409,),
        versioned=True,
    )
    yield AdminRoute(
        method="POST",
        path=f"{one}/unblock",
        handler=of.unblock,
        role="admin",
        summary=f"Let a blocked {noun} in again.",
        answer=KeyView,
        errors=(409,),
        versioned=True,
    )
    yield AdminRoute(
        method="POST",
        path=f"{one}/forget",
        handler=of.forget,
        role="admin",
        summary=f"Delete a {noun}, and replace its name everywhere by its id.",
        status=204,
        errors=(409,),
    )


def _team_routes() -> Iterator[AdminRoute]:
    one = "/teams/{team}"
    yield AdminRoute(
        method="GET",
        path="/teams",
        handler=teams.list_teams,
        role="viewer",
        summary="List teams, those of config.yaml too.",
        query=teams.TeamQuery,
        answer=teams.TeamPage,
        errors=(409,),
    )
    yield AdminRoute(
        method="POST",
        path="/teams",
        handler=teams.add_team,
        role="admin",
        summary="Make a team.",
        body=NewTeam,
        answer=TeamView,
        status=201,
        errors=(409,),
        idempotent=True,
    )
    yield AdminRoute(
        method="GET",
        path=one,
        handler=teams.show_team,
        role="viewer",
        summary="Show a team, by its id or name.",
        answer=TeamView,
        errors=(409,),
    )
    yield AdminRoute(
        method="PATCH",
        path=one,
        handler=teams.change_team,
        role="admin",
        summary="Change a team: null clears a field, an absent one stays.",
        body=TeamChange,
        answer=TeamView,
        errors=(409,),
        versioned=True,
    )
    yield AdminRoute(
        method="DELETE",
        path=one,
        handler=teams.delete_team,
        role="admin",
        summary="Delete a team; `keys` says what becomes of its keys.",
        query=teams.TeamDeletion,
        status=204,
        errors=(409,),
        versioned=True,
    )
    for name, handler, summary in (
        ("block", teams.block_team, "Block all keys of a team from their next request on."),
        ("unblock", teams.unblock_team, "Let the keys of a blocked team in again."),
    ):
        yield AdminRoute(
            method="POST",
            path=f"{one}/{name}",
            handler=handler,
            role="admin",
            summary=summary,
            answer=TeamView,
            errors=(409,),
            versioned=True,
        )
    yield AdminRoute(
        method="POST",
        path=f"{one}/forget",
        handler=teams.forget_team,
        role="admin",
        summary="Delete a team, and replace its name everywhere by its id.",
        query=teams.TeamDeletion,
        status=204,
        errors=(409,),
    )


def _grant_routes() -> Iterator[AdminRoute]:
    yield AdminRoute(
        method="GET",
        path="/grants",
        handler=grants.list_grants,
        role="viewer",
        summary="List raises of limits for a day or a month.",
        query=grants.GrantQuery,
        answer=grants.GrantPage,
        errors=(404, 409),
    )
    yield AdminRoute(
        method="POST",
        path="/grants",
        handler=grants.add_grant,
        role="admin",
        summary="Raise a limit of a key or a team for a day or a month.",
        body=NewGrant,
        answer=GrantView,
        status=201,
        errors=(404, 409),
        idempotent=True,
    )


def _session_routes() -> Iterator[AdminRoute]:
    yield AdminRoute(
        method="POST",
        path="/session",
        handler=session.begin_session,
        role=None,
        summary="Begin a browser's session with an admin key; the answer sets a cookie.",
        body=session.NewSession,
        answer=session.SessionView,
        errors=(409,),
    )
    yield AdminRoute(
        method="GET",
        path="/session",
        handler=session.show_session,
        role="metrics",
        summary="Show who you are.",
        answer=session.SessionView,
    )
    yield AdminRoute(
        method="DELETE",
        path="/session",
        handler=session.end_session,
        role="metrics",
        summary="End the session.",
        status=204,
    )


def _ledger_routes() -> Iterator[AdminRoute]:
    yield AdminRoute(
        method="GET",
        path="/usage",
        handler=usage.show_usage,
        role="viewer",
        summary="Sum up requests and tokens by day, key, team, model or route.",
        query=usage.UsageQuery,
        answer=usage.UsageReport,
        media_type="text/csv",
        errors=(409,),
    )
    yield AdminRoute(
        method="GET",
        path="/usage.csv",
        handler=usage.export_usage,
        role="viewer",
        summary="Export the same sums as CSV.",
        query=usage.UsageQuery,
        media_type="text/csv",
        errors=(409,),
    )
    yield AdminRoute(
        method="GET",
        path="/requests",
        handler=requests.search_requests,
        role="admin",
        summary="Search single requests, the newest first. A viewer sees sums only.",
        query=requests.RequestsQuery,
        answer=requests.RequestPage,
        errors=(409,),
    )


def _live_routes() -> Iterator[AdminRoute]:
    yield AdminRoute(
        method="GET",
        path="/live",
        handler=live.list_live,
        role="admin",
        summary="List the requests that are open now.",
        answer=live.LiveList,
    )
    yield AdminRoute(
        method="DELETE",
        path="/live/{request}",
        handler=live.end_live,
        role="admin",
        summary="End an open request; its client gets the error `ended_by_admin`.",
        status=204,
    )


def _account_routes() -> Iterator[AdminRoute]:
    one = "/accounts/{account}"
    yield AdminRoute(
        method="GET",
        path="/accounts",
        handler=accounts.list_accounts,
        role="viewer",
        summary="List the accounts at Fitten with their state and slots.",
        answer=accounts.AccountList,
    )
    yield AdminRoute(
        method="POST",
        path=f"{one}/pause",
        handler=accounts.pause_account,
        role="admin",
        summary="Let an account rest: open calls go on, no new one begins.",
        body=accounts.PauseRequest,
        answer=AccountState,
    )
    yield AdminRoute(
        method="POST",
        path=f"{one}/resume",
        handler=accounts.resume_account,
        role="admin",
        summary="End the pause of an account.",
        answer=AccountState,
    )
    yield AdminRoute(
        method="POST",
        path=f"{one}/login",
        handler=accounts.log_in_account,
        role="admin",
        summary="Log an account in anew, and wait for it.",
        answer=AccountState,
        errors=(502, 504),
    )


def _node_routes() -> Iterator[AdminRoute]:
    yield AdminRoute(
        method="GET",
        path="/limits/check",
        handler=limits_check.check_limits,
        role="viewer",
        summary="Show what would decide a request of a key now.",
        query=limits_check.LimitsQuery,
        answer=limits_check.LimitsReport,
        errors=(404,),
    )
    yield AdminRoute(
        method="GET",
        path="/config",
        handler=node_state.show_config,
        role="viewer",
        summary="Show the settings in use; secrets are masked.",
        answer=node_state.EffectiveConfig,
    )
    yield AdminRoute(
        method="GET",
        path="/health",
        handler=node_state.show_health,
        role="metrics",
        summary="Show how the gateway is now.",
        answer=NodeStatus,
    )
    yield AdminRoute(
        method="GET",
        path="/events",
        handler=events.send_events,
        role="viewer",
        summary="Send the same each second, as an event stream that ends with the session.",
        media_type="text/event-stream",
    )
