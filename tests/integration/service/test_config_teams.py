"""Keys of config.yaml and keys made at run time share the limits of a team of that file."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path

from gateway.app import SHARED_STATE
from gateway.keys.changes import Actor, ConfigNames, NewKey
from gateway.keys.manager import KeyManager
from gateway.ledger.queries import reading, usage
from gateway.server.single_process import SingleProcess
from tests.conftest import StartGateway
from tests.integration.service.test_stored_keys import ask
from tests.support import KEY, Gateway

LIMIT = 5


def add_key(path: Path) -> str:
    """Make a key in the team of the configuration, and return its text."""
    manager = KeyManager(path)
    manager.configure(UTC, ConfigNames(keys=frozenset({"ci"}), teams=frozenset({"web"})))
    text = manager.add_key(Actor("local:root"), NewKey(name="alice", team="web")).text
    manager.close()
    assert text is not None
    return text


@asynccontextmanager
async def serving(gateway: Gateway, path: Path) -> AsyncIterator[Gateway]:
    """Run a gateway with the same settings that knows the keys of the store."""
    service = SingleProcess(gateway.config)
    url = await service.start()
    manager = KeyManager(path)
    service.entrypoint.app[SHARED_STATE].keys.replace(manager.table())
    manager.close()
    try:
        yield replace(gateway, url=url)
    finally:
        await service.stop()


async def test_keys_of_both_sources_share_a_team_exactly_and_are_one_team_in_the_ledger(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(
        middlewares=[
            "request_id",
            {"api_key": {"keys": [{"name": "ci", "key": KEY, "team": "web"}]}},
        ],
        teams=[{"name": "web", "requests_per_month": LIMIT}],
        store={"url": "sqlite:///l.db"},
    )
    path = gateway.config.store_file
    assert path is not None
    text = add_key(path)
    async with serving(gateway, path) as served:
        answers = await asyncio.gather(
            *(ask(served, one) for one in (KEY, text) for _ in range(LIMIT))
        )
        assert Counter(status for status, _ in answers) == {200: LIMIT, 429: LIMIT}
        for key in (KEY, text):
            status, answer = await ask(served, key)
            assert status == 429
            assert "of team web is used up: 5 of 5 requests per month" in answer["error"]["message"]
    with reading(path) as connection:
        (team,) = usage(connection, ["team"])
        assert (team["team"], team["requests"], team["refused"]) == ("web", LIMIT, LIMIT + 2)
        assert {one["key"] for one in usage(connection, ["key"])} == {"alice", "ci"}
    # What both have used is counted together after a restart, too.
    async with serving(gateway, path) as served:
        assert [(await ask(served, key))[0] for key in (KEY, text)] == [429, 429]
