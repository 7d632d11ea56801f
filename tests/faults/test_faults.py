"""Each fault of the upstream, at each moment: what is told, in time, with nothing left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests import support
from tests.faults.connections import broken_address
from tests.faults.table import CELLS, SERVED, SLOW, Fault, Outcome, Told
from tests.faults.upstream import GOOD, LINES, FaultyFitten, Moment
from tests.front_door.peer import eventually
from tests.support import KEY, Gateway, frames, running_gateway

DEADLINE = 2.0  # seconds, in which every caller is told
SHORT = {"connect": 0.15, "call": 0.15, "first_piece": 0.25, "between_pieces": 0.15, "answer": 0.4}
LENGTH: dict[str, Any] = {"max_answer_bytes": 300_000, "stop_repetition": True}
UPSTREAM_WORDS = ("made up", "nginx", "<html", '"detail"', "u_1", "elsewhere", "127.", "invalid:")
USER = "demo_user"  # of support.running_gateway


def cells() -> list[Any]:
    """Every cell, those of a chat for both ways of reading its bytes."""
    return [
        pytest.param(fault, moment, outcome, client, id=f"{fault.name}-{moment}-{client}")
        for fault, moment, outcome in CELLS
        for client in (("lean", "aiohttp") if moment in ("before", "after") else ("lean",))
    ]


@pytest.mark.parametrize(("fault", "moment", "outcome", "client"), cells())
async def test_a_fault_is_told_as_documented_and_leaves_nothing(
    fault: Fault,
    moment: Moment,
    outcome: Outcome,
    client: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(support, "chat_client", client)
    at_first = sockets()
    async with faulty(fault, moment, tmp_path, monkeypatch) as (gateway, fitten):
        tasks = asyncio.all_tasks()
        started = time.monotonic()
        path, body = asked(moment)
        told = await asyncio.gather(
            *(ask(gateway, path, {**body, "stream": stream}) for stream in (True, False))
        )
        assert time.monotonic() - started < DEADLINE
        for stream, answer in zip((True, False), told, strict=True):
            check(answer, moment, outcome, stream=stream)
        if isinstance(outcome, Told) and fitten.fault:
            count_calls(fitten, moment, outcome)
        await eventually(lambda: not fitten.failing)
        await eventually(lambda: asyncio.all_tasks() - tasks <= fitten.tasks)
        fitten.moment = ""
        if fitten.fault and outcome != SERVED and moment != "login" and "401" not in fault.name:
            # Nothing broken went back to the pool.
            assert (await ask(gateway, path, body))[0] == 200
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    await eventually(lambda: sockets() <= at_first)


@asynccontextmanager
async def faulty(
    fault: Fault,
    moment: Moment,
    folder: Path,
    patch: pytest.MonkeyPatch,
    times: int = sys.maxsize,
) -> AsyncIterator[tuple[Gateway, FaultyFitten]]:
    """A gateway whose next call but the models' is the one of the moment."""
    fitten = FaultyFitten()
    await fitten.start()
    bad = FaultyFitten()
    await bad.start(untrusted=fault.play == "untrusted")
    try:
        with ExitStack() as stack:
            urls = {"base_url": fitten.url, "models_url": fitten.url}
            if isinstance(fault.play, str):
                broken = broken_address(fault.play, bad.port, patch)
                which = "models_url" if moment == "models" else "base_url"
                urls[which] = stack.enter_context(broken)
            else:
                call = "chat" if moment in ("before", "after") else moment
                sent = LINES[0] if moment == "after" else b""
                fitten.fault = fault.play(sent, GOOD[call].removeprefix(sent))
                fitten.moment = call
                fitten.times = times
            if moment != "login":
                expires = 1.0 if moment == "refresh" else None
                keep_tokens(folder, urls["base_url"], expires)
            limits = limits_for(fault, moment)
            async with running_gateway(fitten.url, folder, fitten={**limits, **urls}) as gateway:
                yield gateway, fitten
    finally:
        await fitten.stop()
        await bad.stop()


def limits_for(fault: Fault, moment: Moment) -> dict[str, Any]:
    """Short ones only where they are what is tested: a busy machine must not meet them."""
    if fault.login != SLOW and fault.before != SLOW and fault.after != SLOW:
        return LENGTH
    if moment in ("refresh", "models"):
        return {**LENGTH, "timeouts": {"call": 0.15, "connect": 0.15}}
    return {**LENGTH, "timeouts": SHORT, "completion": {"timeout": 0.25}}


def keep_tokens(folder: Path, url: str, expires: float | None) -> None:
    """The file of an earlier run's session."""
    tokens = {
        "account": hashlib.sha256(f"{url} {USER}".encode()).hexdigest(),
        "user_id": "u_1",
        "access_token": "old",
        "refresh_token": "older",
        "expires_at": expires,
    }
    (folder / "fitten.json").write_text(json.dumps(tokens))


def asked(moment: Moment) -> tuple[str, dict[str, Any]]:
    """A request that leads to the moment."""
    if moment in ("version", "completion"):
        return "/v1/completions", {"prompt": "x = ", "suffix": "\n"}
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}


async def ask(gateway: Gateway, path: str, body: dict[str, Any]) -> tuple[int, Any, bytes]:
    """Status, headers and body, on a connection that is closed afterwards."""
    headers = {"Authorization": f"Bearer {KEY}", "Connection": "close"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(gateway.url + path, json=body) as response,
    ):
        return response.status, response.headers, await response.read()


def check(
    answer: tuple[int, Any, bytes], moment: Moment, outcome: Outcome, *, stream: bool
) -> None:
    """Whether this is what the table says."""
    status, headers, raw = answer
    shown = (raw.decode() + str(dict(headers))).lower()
    assert not [word for word in UPSTREAM_WORDS if word in shown]
    if not isinstance(outcome, Told):
        assert status == 200, raw
        if stream:
            assert frames(raw)[-1] == "[DONE]"
        return
    if moment == "after" and stream:
        assert status == 200, raw
        *earlier, last = frames(raw)
        assert earlier
        assert "[DONE]" not in earlier
        assert all(frame["choices"][0]["finish_reason"] is None for frame in earlier)
        assert b"Hello, " in raw
    else:
        last = json.loads(raw)
        assert (status, last["error"]["code"]) == (outcome.status, outcome.code), raw
        assert headers["x-should-retry"] == str(outcome.again).lower()
    assert set(last) == {"error"}
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert last["error"]["code"] == outcome.code


def count_calls(fitten: FaultyFitten, moment: Moment, outcome: Told) -> None:
    """Two requests were made; the login is one for both."""
    call = "chat" if moment in ("before", "after") else moment
    most = outcome.calls * (1 if moment == "login" else 2)
    if outcome.calls < 3:
        assert fitten.calls[call] == most, fitten.calls
    assert fitten.calls[call] <= most, fitten.calls


def sockets() -> set[str]:
    """Every socket that is open; the loop's own files come when it first needs them."""
    names = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            names.add(os.readlink(f"/proc/self/fd/{number}"))
    return {name for name in names if name.startswith("socket:")}
