"""Answers the route of the audit: who changed what."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.admin.api.call import AdminCall
from gateway.keys.audit_log import MOST_ROWS, AuditFilter, AuditPage
from gateway.keys.changes import Time


class AuditQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Chooses changes.

    since, until: milliseconds since 1970, the first included.
    action: such as `key.rotate`. object_id: the id of a key or a team.
    """

    since: Time | None = None
    until: Time | None = None
    actor: str | None = None
    action: str | None = None
    object_id: str | None = None
    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 100


async def list_changes(call: AdminCall) -> AuditPage:
    """Return the changes that a query chooses, the newest first."""
    query: AuditQuery = call.query
    where = AuditFilter(
        query.since, query.until, query.actor, query.action, query.object_id, query.limit
    )
    return await call.store.read(lambda manager: manager.audit(where, query.cursor))
