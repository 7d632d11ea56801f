"""What a row says of a request, by route and end; and which requests have none."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import aiohttp

from gateway.server.single_process import SingleProcess
from tests.conftest import StartGateway
from tests.integration.peer import CHAT
from tests.support import KEY

SAY = {"messages": [{"role": "user", "content": "[[say text=one%20two]]"}]}
FAILS = {"messages": [{"role": "user", "content": "[[status code=500]]"}]}
SENT: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {**SAY, "stream": True}),
    ("/v1/messages", {**SAY, "max_tokens": 50}),
    ("/v1/responses", {"input": "[[say]]"}),
    ("/api/chat", {**SAY, "stream": False}),
    ("/v1/completions", {"prompt": "x = "}),
    ("/v1/fim/completions", {"prompt": "x = ", "suffix": "\n"}),
    ("/infill", {"input_prefix": "x = ", "input_suffix": "\n"}),
    ("/api/generate", {"prompt": "x = ", "suffix": "\n", "stream": False}),
    (CHAT, {"messages": "none"}),
    (CHAT, FAILS),
    (CHAT, SAY),
]
# The family of the client's program; the rest could tell who it is.
AGENT = "OpenAI/Python 1.2.3 alice@laptop-of-alice"


async def test_rows_say_how_each_request_ended(start_gateway: StartGateway) -> None:
    alice = {"name": "alice", "key": KEY, "team": "web", "requests_per_day": 9}
    gateway = await start_gateway(
        middlewares=["request_id", {"api_key": {"keys": [alice]}}],
        teams=[{"name": "web"}],
        store={"url": "sqlite:///rows.db"},
    )
    service = SingleProcess(gateway.config)
    url = await service.start()
    statuses = []
    async with aiohttp.ClientSession(headers={"User-Agent": AGENT}) as http:
        for number, (path, body) in enumerate(SENT):
            known = {"Authorization": f"Bearer {KEY}", "x-request-id": f"req_{number}"}
            async with http.post(url + path, json=body, headers=known) as response:
                sent = len(await response.read())
                statuses.append(response.status)
                if number == 0:
                    first_bytes = sent
        for headers, path in (({"Authorization": "Bearer wrong"}, CHAT), (known, "/api/show")):
            async with http.post(url + path, json=SAY, headers=headers) as response:
                assert response.status in (401, 404, 400)
        async with http.get(f"{url}/v1/models", headers=known) as response:
            assert response.status == 200
    await service.stop()
    assert statuses == [200] * 8 + [400, 502, 429]
    assert gateway.config.store_file is not None
    with contextlib.closing(sqlite3.connect(gateway.config.store_file)) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            "SELECT request.*, key.name AS key, team.name AS team FROM request"
            " JOIN key ON key.id = key_id JOIN team ON team.id = team_id ORDER BY request.id"
        ).fetchall()
        assert database.execute("SELECT count(*) FROM request").fetchone()[0] == len(rows)
        text = "\n".join(database.iterdump())
    assert [row["request_id"] for row in rows] == [f"req_{number}" for number in range(len(SENT))]
    assert [row["status"] for row in rows] == statuses
    chats, fills = ["chat"] * 4, ["completion", "fim", "infill", "completion"]
    assert [row["route"] for row in rows] == [*chats, *fills, "chat", "chat", "chat"]
    assert [row["ended"] for row in rows[8:]] == [
        "invalid_type",
        "upstream_error",
        "insufficient_quota",
    ]
    assert [row["cause"] for row in rows] == [None] * 8 + [row["ended"] for row in rows[8:]]
    assert [row["refused"] for row in rows] == [0] * 8 + [1, 0, 1]
    assert [row["stream"] for row in rows] == [1] + [0] * 10
    first = dict(rows[0])
    assert (first["key"], first["team"], first["model"]) == ("alice", "web", "fitten-code")
    assert (first["finish_reason"], first["usage_source"]) == ("stop", "upstream")
    assert first["prompt_tokens"] > 0 < first["completion_tokens"]
    assert 0 <= first["first_ms"] <= first["duration_ms"]
    assert (first["tries"], first["account"], first["bytes"]) == (1, "demo_user", first_bytes)
    for row in (rows[8], rows[10]):  # the upstream was not asked
        assert (row["tries"], row["prompt_tokens"], row["completion_tokens"]) == (0, 0, 0)
    assert {row["client"] for row in rows} == {"OpenAI/Python"}
    for private in ("laptop-of-alice", "127.0.0.1", KEY, "one two", "one%20two", "x = "):
        assert private not in text, private
