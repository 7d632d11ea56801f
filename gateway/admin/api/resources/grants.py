"""Answers the routes of grants: raises of a limit for one day or month."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.admin.api.call import AdminCall
from gateway.admin.api.pages import DEFAULT_ITEMS, MOST_ITEMS, page_of
from gateway.admin.api.resources.key_views import Applied, GrantView, view_of_grant
from gateway.admin.api.resources.keys import actor_of
from gateway.keys.changes import NewGrant
from gateway.keys.manager import KeyManager
from gateway.keys.records import GrantRecord


class GrantQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Chooses grants. Without `scope_id` they are those of the current and later periods.

    scope_id: the id or the name of a key or a team; then former periods are included.
    """

    scope: Literal["key", "team"] | None = None
    scope_id: str | None = None
    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ITEMS)] = DEFAULT_ITEMS


class GrantPage(msgspec.Struct):
    """Holds some grants, by period. cursor: of the next page; None at the end."""

    grants: list[GrantView]
    cursor: str | None


async def list_grants(call: AdminCall) -> GrantPage:
    """Return the grants that a query chooses."""
    query: GrantQuery = call.query
    if query.scope_id is None:
        _ = call.store
        records = call.node.directory.table.grants
    else:
        records = await call.store.read(lambda manager: _grants_of(manager, query))
    chosen = [record for record in records if query.scope in (None, record.scope)]
    found, cursor = page_of(
        chosen, lambda record: (record.period, record.id), query.cursor, query.limit
    )
    return GrantPage([view_of_grant(record, call.node.directory) for record in found], cursor)


async def add_grant(call: AdminCall) -> GrantView:
    """Raise a limit of a key or a team, which the body names by its id or its name."""
    new: NewGrant = call.body

    def work(manager: KeyManager) -> GrantRecord:
        scope_id = _id_of(manager, new.scope, new.scope_id)
        return manager.grant(
            actor_of(call),
            msgspec.structs.replace(new, scope_id=scope_id),
            idempotency_key=call.idempotency_key,
        )

    record, confirmed = await call.store.change(work)
    view = view_of_grant(record, call.node.directory)
    view.applied = Applied(confirmed.confirmed, confirmed.of)
    return view


def _grants_of(manager: KeyManager, query: GrantQuery) -> tuple[GrantRecord, ...]:
    scope = query.scope or "key"
    assert query.scope_id is not None
    return manager.grants_of(scope, _id_of(manager, scope, query.scope_id))


def _id_of(manager: KeyManager, scope: Literal["key", "team"], name_or_id: str) -> str:
    if scope == "team":
        return manager.find_team(name_or_id).id
    return manager.find_key(name_or_id, "api").id
