"""Finds teams that keys name, but the configuration does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from gateway.limits.options import LimitOptions
from gateway.middleware import MiddlewareEntry
from gateway.options import did_you_mean
from gateway.redaction import word


def unknown_teams(chain: Sequence[MiddlewareEntry], teams: Collection[str]) -> dict[str, str]:
    """Return what is wrong with the teams in the options of a chain, by path.

    A team is named by an item that is a `LimitOptions` with an attribute `team`, as the keys of
    api_key are.
    """
    known = f"known: {', '.join(teams)}" if teams else "there are none; add it to teams:"
    return {
        path: f"no team '{word(team)}' in teams;{did_you_mean(team, teams)} {known}"
        for path, team in _named_teams(chain)
        if team not in teams
    }


def _named_teams(chain: Sequence[MiddlewareEntry]) -> Iterator[tuple[str, str]]:
    for index, entry in enumerate(chain):
        for option, value in entry.options.items():
            items: Sequence[Any] = value if isinstance(value, (list, tuple)) else ()
            for number, item in enumerate(items):
                team = getattr(item, "team", None) if isinstance(item, LimitOptions) else None
                if team is not None:
                    yield f"middlewares[{index}].{entry.name}.{option}[{number}].team", team
