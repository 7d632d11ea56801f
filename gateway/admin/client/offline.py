"""Changes keys and teams in the store itself, while no gateway runs."""

from __future__ import annotations

import contextlib
import os
import pwd
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from gateway.admin.api.messages import Message, strict
from gateway.admin.api.resources import key_views
from gateway.admin.client.administration import Collection, JsonObject, ObjectAction
from gateway.admin.client.refusal import AdminRefusal
from gateway.config.local_settings import LocalSettings
from gateway.errors import GatewayError
from gateway.keys.audit_log import AuditFilter
from gateway.keys.changes import (
    Actor,
    ConfigNames,
    IssuedKey,
    KeyChange,
    NewGrant,
    NewKey,
    NewTeam,
    TeamChange,
)
from gateway.keys.directory import KeyDirectory
from gateway.keys.manager import DAY_MS, KeyManager
from gateway.keys.records import KeyKind, KeyRecord, KeyTable, Role, TeamRecord
from gateway.ledger.writer_lock import writer_lock
from gateway.store.database import StoreUnusable, store_error_text

Result = TypeVar("Result")

_KINDS: Final[dict[str, KeyKind]] = {"keys": "api", "admin-keys": "admin"}
_TRIES: Final = 40
_PAUSE: Final = 0.05  # seconds between two tries


@contextlib.contextmanager
def open_store(settings: LocalSettings) -> Iterator[OfflineAdministration]:
    """Open the store under its lock, so that no gateway runs meanwhile.

    Raises AdminRefusal.
    """
    path = settings.store_file
    if path is None:
        raise AdminRefusal(
            "This gateway has no store. Set 'store: {url: \"sqlite:///team.db\"}' in its "
            "configuration.",
            status=409,
            code="no_store",
        )
    with contextlib.ExitStack() as stack:
        try:
            _take_lock(stack, settings)
            manager = KeyManager(path, zone=settings.time_zone, audit_days=settings.audit_days)
            stack.callback(manager.close)
        except (OSError, StoreUnusable) as error:
            text = str(error) if isinstance(error, StoreUnusable) else store_error_text(error)
            raise AdminRefusal(f"{path} cannot be opened: {text}.") from None
        yield OfflineAdministration(manager, settings)


def _take_lock(stack: contextlib.ExitStack, settings: LocalSettings) -> None:
    """Take the lock; another command may hold it for a moment."""
    assert settings.store_file is not None
    for tries_left in reversed(range(_TRIES)):
        try:
            stack.enter_context(writer_lock(settings.store_file))
        except BlockingIOError:
            if not tries_left:
                places = " or ".join(map(str, settings.sockets))
                raise AdminRefusal(
                    f"A gateway uses {settings.store_file}, but nothing listens at {places}. Its "
                    "log says why. If it has another configuration or socket, name that by "
                    "--config, or its address by --url."
                ) from None
            time.sleep(_PAUSE)
        else:
            return


class OfflineAdministration:
    """Implements `Administration` by changes of the store.

    settings: of the gateway that does not run, with the names that its configuration has.
    """

    def __init__(self, manager: KeyManager, settings: LocalSettings) -> None:
        self._manager = manager
        self._settings = settings
        self._actor = Actor(f"local:{_user()}")
        names = ConfigNames(
            keys=frozenset(one.name for one in settings.keys),
            admin_keys=frozenset(one.name for one in settings.admin_keys),
            teams=frozenset(one.name for one in settings.teams),
        )
        manager.configure(settings.time_zone, names)

    def objects(self, collection: Collection) -> list[JsonObject]:
        """Return all objects of a kind, those of the configuration too."""
        views: list[Any]
        directory = self._directory()
        if collection == "teams":
            views = [key_views.view_of_team(one, directory) for one in directory.table.teams]
            views += self._team_views(directory.table)
        else:
            kind = _KINDS[collection]
            now = _now()
            views = [
                key_views.view_of_key(one, directory, now)
                for one in directory.table.keys
                if one.kind == kind
            ]
            views += self._key_views(kind)
        return [_plain(view) for view in sorted(views, key=lambda one: (one.name, one.id or ""))]

    def find(self, collection: Collection, name: str) -> JsonObject:
        """Return one object."""
        for one in self.objects(collection):
            if one["id"] is None and one["name"] == name:
                return one
        found: KeyRecord | TeamRecord
        if collection == "teams":
            found = self._run(lambda: self._manager.find_team(name))
        else:
            found = self._run(lambda: self._manager.find_key(name, _KINDS[collection]))
        return self._view(found)

    def add(self, collection: Collection, body: Mapping[str, Any]) -> JsonObject:
        """Make an object."""
        if collection == "teams":
            team = _read(body, NewTeam)
            return self._view(self._run(lambda: self._manager.add_team(self._actor, team)))
        new = _read({**body, "kind": _KINDS[collection]}, NewKey)
        return self._issued(self._run(lambda: self._manager.add_key(self._actor, new)))

    def change(
        self, collection: Collection, found: Mapping[str, Any], body: Mapping[str, Any]
    ) -> JsonObject:
        """Change an object that was found."""
        key_id, version = self._id(collection, found["id"] or found["name"]), found["version"]
        record: KeyRecord | TeamRecord
        if collection == "teams":
            team = _read(body, TeamChange)
            record = self._run(
                lambda: self._manager.change_team(self._actor, key_id, team, version)
            )
        else:
            key = _read(body, KeyChange)
            record = self._run(lambda: self._manager.change_key(self._actor, key_id, key, version))
        return self._view(record)

    def act(
        self, collection: Collection, name: str, action: ObjectAction, body: Mapping[str, Any]
    ) -> JsonObject:
        """Block, unblock or rotate an object."""
        manager, actor = self._manager, self._actor
        found = self._id(collection, name)
        if action == "rotate":
            grace = body.get("grace_ms", DAY_MS)
            return self._issued(self._run(lambda: manager.rotate_key(actor, found, grace)))
        changes: dict[tuple[bool, str], Callable[[], KeyRecord | TeamRecord]] = {
            (True, "block"): lambda: manager.block_team(actor, found),
            (True, "unblock"): lambda: manager.unblock_team(actor, found),
            (False, "block"): lambda: manager.block_key(actor, found, body.get("reason", "")),
            (False, "unblock"): lambda: manager.unblock_key(actor, found),
        }
        return self._view(self._run(changes[collection == "teams", action]))

    def delete(
        self, collection: Collection, name: str, keys: str | None = None, *, forget: bool = False
    ) -> None:
        """Delete an object, or forget it."""
        manager, actor, what = self._manager, self._actor, keys or "refuse"
        if collection == "teams":
            team = self._id(collection, name)
            work = manager.forget_team if forget else manager.delete_team
            self._run(lambda: work(actor, team, what))
        elif forget:
            kind = _KINDS[collection]
            key = self._run(lambda: manager.find_key(name, kind, deleted=True)).id
            self._run(lambda: manager.forget_key(actor, key))
        else:
            key = self._id(collection, name)
            self._run(lambda: manager.delete_key(actor, key))

    def grant(self, body: Mapping[str, Any]) -> JsonObject:
        """Raise a budget for one period."""
        kind: Collection = "teams" if body["scope"] == "team" else "keys"
        new = _read({**body, "scope_id": self._id(kind, body["scope_id"])}, NewGrant)
        record = self._run(lambda: self._manager.grant(self._actor, new))
        return _plain(key_views.view_of_grant(record, self._directory()))

    def audit(self, query: Mapping[str, Any]) -> list[JsonObject]:
        """Return rows of the audit, the newest first."""
        left, cursor = int(query["limit"]), None
        rows: list[JsonObject] = []
        while left > 0:
            where = AuditFilter(
                since=query.get("since"),
                until=query.get("until"),
                actor=query.get("actor"),
                action=query.get("action"),
                object_id=query.get("object_id"),
                limit=left,
            )
            page = self._page(where, cursor)
            rows += [_plain(row) for row in page.rows]
            left, cursor = left - len(page.rows), page.cursor
            if cursor is None:
                break
        return rows

    def _page(self, where: AuditFilter, cursor: str | None) -> Any:
        return self._run(lambda: self._manager.audit(where, cursor))

    def _id(self, collection: Collection, name: str) -> str:
        if collection == "teams":
            return self._run(lambda: self._manager.find_team(name)).id
        return self._run(lambda: self._manager.find_key(name, _KINDS[collection])).id

    def _directory(self) -> KeyDirectory:
        directory = KeyDirectory()
        directory.replace(self._run(self._manager.table))
        return directory

    def _view(self, record: KeyRecord | TeamRecord) -> JsonObject:
        directory = self._directory()
        if isinstance(record, TeamRecord):
            return _plain(key_views.view_of_team(record, directory))
        return _plain(key_views.view_of_key(record, directory, _now()))

    def _issued(self, issued: IssuedKey) -> JsonObject:
        view = key_views.issued_view(
            issued.record, self._directory(), _now(), issued.text, again=issued.already_issued
        )
        return _plain(view)

    def _key_views(self, kind: KeyKind) -> Iterator[key_views.KeyView]:
        """Return the keys of the configuration, as the gateway shows them."""
        for one in self._settings.admin_keys if kind == "admin" else self._settings.keys:
            view = key_views.KeyView(
                id=None, kind=kind, name=one.name, source="config", state="active"
            )
            if kind == "admin":
                view.role = msgspec.convert(one.role, type=Role)
            else:
                view.team = None if one.team is None else key_views.TeamReference(None, one.team)
                view.limits = dict(one.limits)
                view.models = None if one.models is None else list(one.models)
                view.routes = None if one.routes is None else list(one.routes)
            yield view

    def _team_views(self, table: KeyTable) -> Iterator[key_views.TeamView]:
        """Return the teams of the configuration; keys of the store may be in them, too."""
        keys = Counter(table.config_teams.get(key.team_id or "") for key in table.keys)
        keys.update(key.team for key in self._settings.keys)
        for team in self._settings.teams:
            limits = dict(team.limits)
            yield key_views.TeamView(
                id=None, name=team.name, source="config", keys=keys[team.name], limits=limits
            )

    def _run(self, work: Callable[[], Result]) -> Result:
        """Run a piece of work on the store. Raises AdminRefusal."""
        try:
            return work()
        except GatewayError as error:
            raise _refusal(error) from None


def _refusal(error: GatewayError) -> AdminRefusal:
    return AdminRefusal(
        error.message, status=error.status, code=error.code or "", param=error.param or ""
    )


def _read(body: Mapping[str, Any], kind: type[Message]) -> Message:
    try:
        return strict(body, kind)
    except GatewayError as error:
        raise _refusal(error) from None


def _plain(view: msgspec.Struct) -> JsonObject:
    value: JsonObject = msgspec.to_builtins(view)
    return value


def _user() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _now() -> int:
    return time.time_ns() // 1_000_000
