"""Runs a gateway in front of a Fitten that fails, and sends it requests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.app import ACCOUNTS
from tests.faults.connections import TLS, EmptyResolver, FaultyResolver, install
from tests.faults.dialects import AskedDialect, dialects_at
from tests.faults.resources import held_slots
from tests.faults.table import FaultCell
from tests.faults.upstream import GOOD, LINES, FaultyFitten, Moment
from tests.support import Gateway, running_gateway
from tests.waiting import NEVER, eventually

SHORT = {"connect": 0.6, "call": 0.6, "first_piece": 1.0, "between_pieces": 0.6, "answer": 1.6}
# Here a login that began with the gateway has to last until the requests are there.
LOGIN = {"connect": 1.5, "call": 1.5, "first_piece": 4.5}
NONE = dict.fromkeys(SHORT, NEVER)
USERS = {"demo_user": "u_1", "other_user": "u_2"}  # and what Fitten calls them


class FaultAnswer(NamedTuple):
    """What a client got, in which dialect, and whether it asked for a stream."""

    dialect: AskedDialect
    stream: bool
    status: int
    headers: Any
    raw: bytes


@dataclass
class FaultScenario:
    """A gateway and a Fitten with a fault. It happens at `moment`, from `go` until `repair`.

    names: host names that were looked up, other than Fitten's own.
    """

    gateway: Gateway
    fitten: FaultyFitten
    resolver: FaultyResolver | None
    fault: FaultCell
    moment: Moment
    names: list[str]

    @property
    def call(self) -> str:
        """The call to Fitten that fails."""
        return call_of(self.moment)

    @property
    def repairable(self) -> bool:
        """Whether Fitten can serve the same gateway afterwards."""
        return self.fault.cause not in TLS

    async def ask(self, *, stream: bool, dialect: AskedDialect | None = None) -> FaultAnswer:
        """Send a request that leads to the moment; return what the client gets.

        dialect: the first one of the moment, if none is given.
        """
        dialect = dialect or dialects_at(self.moment)[0]
        body = {**dialect.given("x = "), "stream": stream}
        return await ask(self.gateway, dialect, body, stream=stream)

    async def ask_in_turn(self) -> list[FaultAnswer]:
        """Send a stream and a whole answer, one after the other, to the account that fails."""
        self.go()
        stream = await self.ask(stream=True)
        assert (await self.ask(stream=False)).status == 200  # served by the other account
        return [stream, await self.ask(stream=False)]

    async def ask_all(self, dialects: Sequence[AskedDialect]) -> list[FaultAnswer]:
        """Send a stream and a whole answer in each of these dialects.

        All are under way when the fault happens.
        """
        wanted = [(dialect, stream) for dialect in dialects for stream in (True, False)]
        answers = asyncio.gather(*(self.ask(stream=s, dialect=d) for d, s in wanted))
        try:
            under_way = len(wanted)
            await eventually(lambda: sum(held_slots(self.gateway)) >= under_way or answers.done())
            self.go()
        finally:
            got = await answers
        return got

    async def models(self) -> list[str]:
        """Return the models that clients are offered."""
        async with self.gateway.http.get(f"{self.gateway.url}/v1/models") as response:
            assert response.status == 200
            return [model["id"] for model in (await response.json())["data"]]

    def go(self) -> None:
        """Let the fault happen."""
        self.fitten.go.set()

    async def over(self) -> None:
        """Wait until the failing calls have failed and their connections are closed."""
        if self.moment == "models":
            await self.gateway.entrypoint.app[ACCOUNTS].tried.wait()
        await eventually(lambda: not self.fitten.failing)

    def repair(self) -> None:
        """Let Fitten work again."""
        self.fitten.moment = ""
        if self.resolver is not None and self.repairable:
            self.resolver.repair()


@asynccontextmanager
async def fault_scenario(
    fault: FaultCell,
    moment: Moment,
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    times: int = sys.maxsize,
    second: bool = False,
    **fitten_settings: Any,
) -> AsyncIterator[FaultScenario]:
    """Run a gateway in front of a Fitten with this fault.

    times: how often the fault happens. second: whether there is a second account, which does
    not fail; always so at the moment "second". fitten_settings: for the section `fitten`.
    """
    second = second or moment == "second"
    fitten, bad = FaultyFitten(), FaultyFitten()
    await fitten.start()
    bad.silent_tls = fault.cause == "handshake"
    await bad.start(untrusted=fault.cause == "untrusted")
    try:
        with ExitStack() as stack:
            urls = {"base_url": fitten.url, "models_url": fitten.url}
            resolver, elsewhere = None, EmptyResolver()
            install(elsewhere, patch)
            if isinstance(fault.cause, str):
                resolver = FaultyResolver(fault.cause, fitten.port, bad.port, fitten.go)
                stack.enter_context(resolver)
                install(resolver, patch)
                resolver.times = 1 if moment == "second" else times
                urls["models_url" if moment == "models" else "base_url"] = resolver.url
            else:
                fitten.moment = call_of(moment)
                fitten.times = times
                sent = LINES[0] if moment == "after" else b""
                fitten.fault = fault.cause(sent, GOOD[fitten.moment].removeprefix(sent))
            accounts = [{"username": "demo_user", "password": "correct horse"}]
            if second:
                accounts.append({"username": "other_user", "password": "correct horse"})
                fitten.user = "demo_user" if moment == "login" else "u_1"
            users = USERS if moment != "login" else {"other_user": "u_2"}
            keep_tokens(folder, urls["base_url"], users, 1.0 if moment == "refresh" else None)
            settings = {**settings_for(fault, moment), "accounts": accounts, **urls}
            settings |= fitten_settings
            # A request that finds every account pausing is refused at once, and waits for none.
            settings["pool"] = {"queue_wait": 0.05, **settings["pool"]}
            stream = {"grace": NEVER}  # every failure before the first piece has its status
            async with running_gateway(
                fitten.url, folder, fitten=settings, stream=stream
            ) as gateway:
                yield FaultScenario(gateway, fitten, resolver, fault, moment, elsewhere.asked)
    finally:
        fitten.go.set()
        await fitten.stop()
        await bad.stop()


def call_of(moment: Moment) -> str:
    return "chat" if moment in ("before", "second", "after") else moment


def settings_for(fault: FaultCell, moment: Moment) -> dict[str, Any]:
    """Return short limits only where they are tested; otherwise none, so that no test waits."""
    settings: dict[str, Any] = {
        "max_answer_bytes": 300_000,
        "stop_repetition": True,
        # Else the budget, the breaker or the queue decides, and not the fault.
        "pool": {"retry_ratio": 1.0, "breaker_failures": 0, "max_concurrent": 8},
    }
    if not fault.lasts:
        return {**settings, "timeouts": NONE, "completion": {"timeout": NEVER}}
    if moment == "login" or (moment == "refresh" and isinstance(fault.cause, str)):
        return {**settings, "timeouts": LOGIN}
    if moment in ("refresh", "models"):
        return {**settings, "timeouts": {"call": 0.6, "connect": 0.6}}
    if moment == "completion":  # after a login and a version, which take longer on a slow machine
        return {**settings, "timeouts": {**SHORT, **LOGIN}, "completion": {"timeout": 4.0}}
    return {**settings, "timeouts": SHORT, "completion": {"timeout": 1.0}}


def keep_tokens(folder: Path, url: str, users: dict[str, str], expires: float | None) -> None:
    """Write the state file of an earlier run, with its sessions."""
    accounts = {
        hashlib.sha256(f"{url} {name}".encode()).hexdigest(): {
            "user_id": user,
            "access_token": "old",
            "refresh_token": "older",
            "expires_at": expires,
        }
        for name, user in users.items()
    }
    (folder / "fitten.json").write_text(json.dumps({"accounts": accounts}))


async def ask(
    gateway: Gateway, dialect: AskedDialect, body: dict[str, Any], *, stream: bool
) -> FaultAnswer:
    """Return what a client gets, on a connection that is closed afterwards."""
    headers = {"Connection": "close"}
    async with gateway.http.post(
        gateway.url + dialect.path, json=body, headers=headers
    ) as response:
        raw = await response.read()
        return FaultAnswer(dialect, stream, response.status, response.headers, raw)
