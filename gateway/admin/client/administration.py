"""Describes what commands can do with keys and teams, whether a gateway runs or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

Collection = Literal["keys", "teams", "admin-keys"]
"""What the commands and the paths of the admin API call the objects."""

ObjectAction = Literal["block", "unblock", "rotate"]

JsonObject = dict[str, Any]


class Administration(Protocol):
    """Changes keys and teams, and reads what was changed.

    Objects are those of the admin API, as plain data. A name may be an id too. Each method
    raises AdminRefusal.
    """

    def objects(self, collection: Collection) -> list[JsonObject]:
        """Return all objects of a kind."""
        ...

    def find(self, collection: Collection, name: str) -> JsonObject:
        """Return one object."""
        ...

    def add(self, collection: Collection, body: Mapping[str, Any]) -> JsonObject:
        """Make an object; a key has its text in `key`, this once."""
        ...

    def change(
        self, collection: Collection, found: Mapping[str, Any], body: Mapping[str, Any]
    ) -> JsonObject:
        """Change an object that was found; refused if somebody else has changed it since."""
        ...

    def act(
        self, collection: Collection, name: str, action: ObjectAction, body: Mapping[str, Any]
    ) -> JsonObject:
        """Block, unblock or rotate an object, and return it."""
        ...

    def delete(
        self, collection: Collection, name: str, keys: str | None = None, *, forget: bool = False
    ) -> None:
        """Delete an object.

        keys: what becomes of the keys of a team. forget: whether its name is replaced by its id
        everywhere.
        """
        ...

    def grant(self, body: Mapping[str, Any]) -> JsonObject:
        """Raise a budget for one period."""
        ...

    def audit(self, query: Mapping[str, Any]) -> list[JsonObject]:
        """Return rows of the audit, the newest first."""
        ...
