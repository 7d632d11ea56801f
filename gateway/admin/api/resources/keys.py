"""Answers the routes of keys: those of the APIs, and those of the admin API itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from gateway.admin.api.call import AdminCall
from gateway.admin.api.pages import DEFAULT_ITEMS, MOST_ITEMS, page_of
from gateway.admin.api.resources.key_views import (
    Applied,
    IssuedKeyView,
    KeyView,
    State,
    config_keys,
    issued_view,
    view_of_key,
)
from gateway.admin.api.resources.live import end_requests_of
from gateway.keys.changes import (
    Actor,
    Allowed,
    IssuedKey,
    KeyChange,
    LimitValues,
    Name,
    NewKey,
    Note,
    Time,
)
from gateway.keys.errors import InvalidValue, UnknownObject
from gateway.keys.manager import KeyManager
from gateway.keys.records import KeyKind, KeyRecord, Role
from gateway.middleware import RESPONSE_HEADERS

Sort = Literal["name", "created_at", "expires_at"]
_NEVER: Final = 10**15 - 1  # later than every time

Limit = Annotated[int, Meta(ge=1, le=MOST_ITEMS)]


class KeyQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Chooses keys.

    team: a name or an id. search: a part of a name, an id or a note; case does not count.
    sort: what the list is in the order of, the first one first; keys without one are last.
    """

    team: str | None = None
    sort: Sort = "name"
    state: State | None = None
    source: Literal["store", "config"] | None = None
    search: str | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_ITEMS


class KeyPage(msgspec.Struct):
    """Holds some keys in their order. cursor: of the next page; None at the end."""

    keys: list[KeyView]
    cursor: str | None


class NewAdminKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Describes a key of the admin API to be made."""

    name: Name
    role: Role
    note: Note = ""
    expires_at: Time | None = None


class AdminKeyChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Describes a change of a key of the admin API. What is absent stays; null clears."""

    name: Name | msgspec.UnsetType = UNSET
    role: Role | msgspec.UnsetType = UNSET
    note: Note | msgspec.UnsetType | None = UNSET
    expires_at: Time | msgspec.UnsetType | None = UNSET


class TeamOfKeys(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Chooses the keys of a team, by its name or id."""

    team: Name


class KeysChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Describes a change of several keys. What is absent stays; null clears.

    limits: changes those that it has; null clears all limits.
    """

    team: Name | msgspec.UnsetType | None = UNSET
    models: Allowed | msgspec.UnsetType | None = UNSET
    routes: Allowed | msgspec.UnsetType | None = UNSET
    limits: LimitValues | msgspec.UnsetType | None = UNSET
    note: Note | msgspec.UnsetType | None = UNSET
    expires_at: Time | msgspec.UnsetType | None = UNSET


class ChangedKeys(msgspec.Struct):
    """Holds the keys that a change was for, as they are now."""

    keys: list[KeyView]
    applied: Applied


class Rotation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Says how long the former secret works: 0 if it has leaked, 24 hours unless given."""

    grace_ms: Annotated[int, Meta(ge=0, le=30 * 24 * 3_600_000)] = 24 * 3_600_000


class BlockRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Says why a key is blocked; the reason is shown to who uses it.

    end_requests: whether its open requests end too. Else they go on to their end.
    """

    reason: Annotated[str, Meta(max_length=200)] = ""
    end_requests: bool = False


class KeyRoutes:
    """Answers the routes of one kind of keys.

    A key is named by its id or by its name. Each change is in the audit, and holds in every
    process when it is answered.
    """

    def __init__(self, kind: KeyKind) -> None:
        self._kind = kind

    async def list_keys(self, call: AdminCall) -> KeyPage:
        """Return the keys that a query chooses, those of config.yaml too."""
        _ = call.store
        query: KeyQuery = call.query
        found = [view for view in self._views(call) if _fits(view, query)]
        place = partial(_place, query.sort)
        keys, cursor = page_of(found, place, query.cursor, query.limit)
        return KeyPage(keys, cursor)

    async def add(self, call: AdminCall) -> IssuedKeyView:
        """Make a key; the answer is the only one with its text."""
        body = call.body
        if isinstance(body, NewAdminKey):
            new = NewKey(kind="admin", **msgspec.structs.asdict(body))
        else:
            new = body
        if new.kind != self._kind:
            raise InvalidValue("Keys of the kind 'admin' are made at /admin-keys.", param="kind")
        return await self._issue(
            call,
            lambda manager: manager.add_key(
                actor_of(call), new, idempotency_key=call.idempotency_key
            ),
        )

    async def show(self, call: AdminCall) -> KeyView:
        """Return one key."""
        _ = call.store
        wanted = call.path["key"]
        views = list(self._views(call))
        for view in [v for v in views if v.id == wanted] + [v for v in views if v.name == wanted]:
            tag_version(call, view.version)
            return view
        noun = "key" if self._kind == "api" else "admin key"
        raise UnknownObject(f"There is no {noun} of this name or id.")

    async def change(self, call: AdminCall) -> KeyView:
        """Change the fields of a key that the body has."""
        body = call.body
        if isinstance(body, AdminKeyChange):
            change = KeyChange(**msgspec.structs.asdict(body))
        else:
            change = body
        return await self._changed(
            call,
            lambda manager, key_id: manager.change_key(
                actor_of(call), key_id, change, call.version
            ),
        )

    async def rotate(self, call: AdminCall) -> IssuedKeyView:
        """Give a key another secret; the former one works for the grace."""
        body: Rotation = call.body
        return await self._issue(
            call,
            lambda manager: manager.rotate_key(
                actor_of(call),
                self._id(manager, call),
                grace_ms=body.grace_ms,
                idempotency_key=call.idempotency_key,
                version=call.version,
            ),
        )

    async def block(self, call: AdminCall) -> KeyView:
        """Block a key, and end its open requests if the body says so."""
        body: BlockRequest = call.body
        if body.end_requests and self._kind == "admin":
            raise InvalidValue("An admin key has no open requests.", param="end_requests")
        view = await self._changed(
            call,
            lambda manager, key_id: manager.block_key(
                actor_of(call), key_id, body.reason, call.version
            ),
        )
        if body.end_requests and view.id is not None:
            view.ended = await end_requests_of(call, view.id)
        return view

    async def unblock(self, call: AdminCall) -> KeyView:
        """Admit a blocked key again."""
        return await self._changed(
            call,
            lambda manager, key_id: manager.unblock_key(actor_of(call), key_id, call.version),
        )

    async def delete(self, call: AdminCall) -> None:
        """Delete a key. What it has used stays in the ledger."""
        await call.store.change(
            lambda manager: manager.delete_key(
                actor_of(call), self._id(manager, call), call.version
            )
        )

    async def forget(self, call: AdminCall) -> None:
        """Delete a key, and replace its name in the ledger and the audit by its id."""

        def work(manager: KeyManager) -> None:
            found = manager.find_key(call.path["key"], self._kind, deleted=True)
            manager.forget_key(actor_of(call), found.id)

        await call.store.change(work)

    def _id(self, manager: KeyManager, call: AdminCall) -> str:
        return manager.find_key(call.path["key"], self._kind).id

    async def _issue(
        self, call: AdminCall, work: Callable[[KeyManager], IssuedKey]
    ) -> IssuedKeyView:
        issued, confirmed = await call.store.change(work)
        view = issued_view(
            issued.record,
            call.node.directory,
            now_ms(),
            issued.text,
            again=issued.already_issued,
        )
        view.applied = Applied(confirmed.confirmed, confirmed.of)
        tag_version(call, view.version)
        return view

    async def _changed(
        self, call: AdminCall, work: Callable[[KeyManager, str], KeyRecord]
    ) -> KeyView:
        record, confirmed = await call.store.change(
            lambda manager: work(manager, self._id(manager, call))
        )
        view = view_of_key(record, call.node.directory, now_ms())
        view.applied = Applied(confirmed.confirmed, confirmed.of)
        tag_version(call, view.version)
        return view

    def _views(self, call: AdminCall) -> list[KeyView]:
        directory, now = call.node.directory, now_ms()
        stored = [
            view_of_key(record, directory, now)
            for record in directory.table.keys
            if record.kind == self._kind
        ]
        return [*stored, *config_keys(call.node.config, self._kind)]


async def change_keys_of_team(call: AdminCall) -> ChangedKeys:
    """Change all keys of a team that are made at run time, in one step."""
    query: TeamOfKeys = call.query
    change = KeyChange(**msgspec.structs.asdict(call.body))
    records, confirmed = await call.store.change(
        lambda manager: manager.change_keys(actor_of(call), query.team, change)
    )
    now, directory = now_ms(), call.node.directory
    views = [view_of_key(record, directory, now) for record in records]
    return ChangedKeys(views, Applied(confirmed.confirmed, confirmed.of))


def actor_of(call: AdminCall) -> Actor:
    """Return who makes a change, for the audit."""
    caller = call.caller
    return Actor(
        name=caller.name,
        address=caller.address,
        request_id=call.request_id,
        key_id=caller.key_id or "",
    )


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _fits(view: KeyView, query: KeyQuery) -> bool:
    team = view.team
    if query.team is not None and (team is None or query.team not in (team.id, team.name)):
        return False
    if query.state not in (None, view.state) or query.source not in (None, view.source):
        return False
    if query.search is None:
        return True
    wanted = query.search.casefold()
    return any(wanted in text.casefold() for text in (view.name, view.id or "", view.note))


def _place(sort: Sort, view: KeyView) -> tuple[str, str]:
    """Return a place that no other key has; those of config.yaml have a name, and no id."""
    if sort == "name":
        return view.name, view.id or ""
    at = view.created_at if sort == "created_at" else view.expires_at
    return f"{_NEVER if at is None else at:015}", view.id or f"-{view.name}"


def tag_version(call: AdminCall, version: int | None) -> None:
    """Put the version of a record into the answer's `ETag`, for a later `If-Match`."""
    if version is not None:
        call.http[RESPONSE_HEADERS]["ETag"] = f'"{version}"'
