"""Lists every route of the admin API. The OpenAPI document is made of this table.

To add one: write a handler in `resources/`, and an entry here. Those of keys and teams are in
`key_routes`.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.admin.api.call import AdminRoute
from gateway.admin.api.key_routes import key_routes
from gateway.admin.api.resources import (
    accounts,
    audit,
    events,
    limits_check,
    live,
    node_state,
    requests,
    session,
    usage,
)
from gateway.admin.node import NodeStatus
from gateway.fitten.account_control import AccountState
from gateway.keys.audit_log import AuditPage

BASE = "/admin/api/v1"


def admin_routes() -> Iterator[AdminRoute]:
    """Return the routes, in the order of the document."""
    yield from key_routes()
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
