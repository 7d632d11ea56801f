"""Answers the routes of teams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.admin.api.call import AdminCall
from gateway.admin.api.pages import DEFAULT_ITEMS, MOST_ITEMS, page_of
from gateway.admin.api.resources.key_views import Applied, TeamView, config_teams, view_of_team
from gateway.admin.api.resources.keys import actor_of, tag_version
from gateway.keys.changes import NewTeam, TeamChange
from gateway.keys.errors import UnknownObject
from gateway.keys.manager import KeyManager
from gateway.keys.records import TeamRecord


class TeamQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Chooses teams. search: a part of a name, an id or a note; case does not count."""

    source: Literal["store", "config"] | None = None
    search: str | None = None
    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ITEMS)] = DEFAULT_ITEMS


class TeamPage(msgspec.Struct):
    """Holds some teams in the order of their names. cursor: of the next page; None at the end."""

    teams: list[TeamView]
    cursor: str | None


class TeamDeletion(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Says what becomes of a team's keys: `refuse`, `block`, or `move:` and another team."""

    keys: Annotated[str, Meta(pattern=r"^(refuse|block|move:.+)$", max_length=80)] = "refuse"


async def list_teams(call: AdminCall) -> TeamPage:
    """Return the teams that a query chooses, those of config.yaml too."""
    _ = call.store
    query: TeamQuery = call.query
    found = [view for view in _views(call) if _fits(view, query)]
    teams, cursor = page_of(found, _place, query.cursor, query.limit)
    return TeamPage(teams, cursor)


async def add_team(call: AdminCall) -> TeamView:
    """Make a team."""
    new: NewTeam = call.body
    return await _changed(
        call,
        lambda manager: manager.add_team(actor_of(call), new, idempotency_key=call.idempotency_key),
    )


async def show_team(call: AdminCall) -> TeamView:
    """Return one team."""
    _ = call.store
    wanted = call.path["team"]
    views = list(_views(call))
    for view in [v for v in views if v.id == wanted] + [v for v in views if v.name == wanted]:
        tag_version(call, view.version)
        return view
    raise UnknownObject("There is no team of this name or id.")


async def change_team(call: AdminCall) -> TeamView:
    """Change the fields of a team that the body has."""
    change: TeamChange = call.body
    return await _changed(
        call,
        lambda manager: manager.change_team(
            actor_of(call), _id(manager, call), change, call.version
        ),
    )


async def block_team(call: AdminCall) -> TeamView:
    """Block all keys of a team."""
    return await _changed(
        call,
        lambda manager: manager.block_team(actor_of(call), _id(manager, call), call.version),
    )


async def unblock_team(call: AdminCall) -> TeamView:
    """Admit the keys of a blocked team again."""
    return await _changed(
        call,
        lambda manager: manager.unblock_team(actor_of(call), _id(manager, call), call.version),
    )


async def delete_team(call: AdminCall) -> None:
    """Delete a team."""
    query: TeamDeletion = call.query
    await call.store.change(
        lambda manager: manager.delete_team(
            actor_of(call), _id(manager, call), query.keys, call.version
        )
    )


async def forget_team(call: AdminCall) -> None:
    """Delete a team, and replace its name in the ledger and the audit by its id."""
    query: TeamDeletion = call.query
    await call.store.change(
        lambda manager: manager.forget_team(actor_of(call), _id(manager, call), query.keys)
    )


def _id(manager: KeyManager, call: AdminCall) -> str:
    return manager.find_team(call.path["team"]).id


async def _changed(call: AdminCall, work: Callable[[KeyManager], TeamRecord]) -> TeamView:
    record, confirmed = await call.store.change(work)
    view = view_of_team(record, call.node.directory)
    view.applied = Applied(confirmed.confirmed, confirmed.of)
    tag_version(call, view.version)
    return view


def _views(call: AdminCall) -> list[TeamView]:
    directory = call.node.directory
    stored = [view_of_team(record, directory) for record in directory.table.teams]
    return [*stored, *config_teams(call.node.config, directory.table)]


def _fits(view: TeamView, query: TeamQuery) -> bool:
    if query.source not in (None, view.source):
        return False
    wanted = (query.search or "").casefold()
    return any(wanted in text.casefold() for text in (view.name, view.id or "", view.note))


def _place(view: TeamView) -> tuple[str, str]:
    return view.name, view.id or ""
