"""Lists the routes of keys, admin keys, teams and grants; see `routes`."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from gateway.admin.api.call import AdminRoute
from gateway.admin.api.resources import grants, keys, teams
from gateway.admin.api.resources.key_views import GrantView, IssuedKeyView, KeyView, TeamView
from gateway.keys.changes import KeyChange, NewGrant, NewKey, NewTeam, TeamChange
from gateway.keys.records import KeyKind, Role


def key_routes() -> Iterator[AdminRoute]:
    """Return the routes, in the order of the document."""
    new, change = keys.NewAdminKey, keys.AdminKeyChange
    yield from _routes_of_kind("api", "/keys", "key", NewKey, KeyChange)
    yield AdminRoute(
        method="PATCH",
        path="/keys",
        handler=keys.change_keys_of_team,
        role="admin",
        summary="Change all keys of a team; keys of config.yaml stay as they are.",
        query=keys.TeamOfKeys,
        body=keys.KeysChange,
        answer=keys.ChangedKeys,
        errors=(409,),
    )
    yield from _routes_of_kind("admin", "/admin-keys", "admin key", new, change)
    yield from _team_routes()
    yield from _grant_routes()


def _routes_of_kind(
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
        repeat_status=200,
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
