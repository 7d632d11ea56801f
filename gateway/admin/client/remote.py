"""Changes keys and teams through the admin API of a running gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.admin.client.administration import Collection, JsonObject, ObjectAction
from gateway.admin.client.connection import AdminConnection, path_of

_PAGE: Final = 500
# What a page of each list calls its items.
_ITEMS: Final = {"keys": "keys", "admin-keys": "keys", "teams": "teams", "audit": "rows"}


class RemoteAdministration:
    """Implements `Administration` by requests to a gateway."""

    def __init__(self, connection: AdminConnection) -> None:
        self._connection = connection

    def objects(self, collection: Collection) -> list[JsonObject]:
        """Return all objects of a kind, page by page."""
        return self._pages(collection, {}, None)

    def find(self, collection: Collection, name: str) -> JsonObject:
        """Return one object."""
        return self._object("GET", path_of(collection, name))

    def add(self, collection: Collection, body: Mapping[str, Any]) -> JsonObject:
        """Make an object."""
        return self._object("POST", path_of(collection), body)

    def change(
        self, collection: Collection, found: Mapping[str, Any], body: Mapping[str, Any]
    ) -> JsonObject:
        """Change an object that was found."""
        path = path_of(collection, found["id"] or found["name"])
        return self._object("PATCH", path, body, version=found.get("version"))

    def act(
        self, collection: Collection, name: str, action: ObjectAction, body: Mapping[str, Any]
    ) -> JsonObject:
        """Block, unblock or rotate an object."""
        return self._object("POST", path_of(collection, name, action), body)

    def delete(
        self, collection: Collection, name: str, keys: str | None = None, *, forget: bool = False
    ) -> None:
        """Delete an object, or forget it."""
        query = {"keys": keys}
        if forget:
            self._connection.call("POST", path_of(collection, name, "forget"), query=query)
        else:
            self._connection.call("DELETE", path_of(collection, name), query=query)

    def grant(self, body: Mapping[str, Any]) -> JsonObject:
        """Raise a budget for one period."""
        return self._object("POST", path_of("grants"), body)

    def audit(self, query: Mapping[str, Any]) -> list[JsonObject]:
        """Return rows of the audit, the newest first."""
        return self._pages("audit", query, query.get("limit"))

    def _object(self, method: str, path: str, body: Any = None, **more: Any) -> JsonObject:
        value: JsonObject = self._connection.call(method, path, body, **more)
        return value

    def _pages(self, what: str, query: Mapping[str, Any], most: int | None) -> list[JsonObject]:
        """Return the items of as many pages as are needed for `most` of them; None for all."""
        found: list[JsonObject] = []
        cursor = None
        while most is None or len(found) < most:
            limit = _PAGE if most is None else min(_PAGE, most - len(found))
            asked = {**query, "limit": limit, "cursor": cursor}
            page = self._connection.call("GET", path_of(what), query=asked)
            found += page[_ITEMS[what]]
            cursor = page["cursor"]
            if cursor is None:
                break
        return found
