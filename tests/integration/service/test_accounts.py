"""Several accounts as one pool: which one serves, when requests wait, as clients see it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from emulator import EmulatedAccount, Emulator, WrittenCall
from gateway.app import ACCOUNTS
from gateway.fitten import failover
from tests.conftest import StartGateway
from tests.faults.resources import held_slots
from tests.integration.conftest import Connect
from tests.integration.peer import LOGIN, UPSTREAM_CHAT, chat_request
from tests.support import KEY, Gateway, content, frames
from tests.waiting import LONGEST_WAIT, NEVER, eventually

NAMES = ("ann77", "bob77", "cat77")
OTHER_KEY = "other-key-9876543210"
TWO_KEYS: list[Any] = [
    "request_log",
    {"api_key": {"keys": [{"name": "tester", "key": KEY}, {"name": "other", "key": OTHER_KEY}]}},
]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A Fitten with three accounts."""
    accounts = [EmulatedAccount(name, f"{name}'s password") for name in NAMES]
    async with Emulator(accounts=accounts, slow=0.3) as running:
        yield running


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


def stopped(gateway: Gateway) -> Clock:
    """Use the clock of the test for pauses of accounts from now on."""
    clock = Clock()
    pool: Any = gateway.entrypoint.app[ACCOUNTS].pool
    for account in pool.accounts:
        account.health._clock = clock
    return clock


def settings(count: int = 2, **pool: Any) -> dict[str, Any]:
    """Return the section `fitten` with this number of accounts."""
    accounts = [{"username": name, "password": f"{name}'s password"} for name in NAMES[:count]]
    return {"accounts": accounts, "pool": pool}


async def logged_in(emulator: Emulator, count: int) -> None:
    """Wait until all accounts have their tokens."""
    calls = await eventually(lambda: len(c := emulator.calls_to(LOGIN)) == count and c)
    for call in calls:
        await call.done.wait()
    await asyncio.sleep(0.02)


def served_by(call: WrittenCall) -> str:
    name: str = call.body["ft_token"].removeprefix("u_")
    return name


def chats(emulator: Emulator) -> list[WrittenCall]:
    found: list[WrittenCall] = emulator.calls_to(UPSTREAM_CHAT)
    return found


def is_asked(emulator: Emulator, times: int) -> bool:
    return len(chats(emulator)) == times


def serving(emulator: Emulator) -> list[str]:
    """The accounts that served, in order."""
    return [served_by(call) for call in chats(emulator)]


def lines(log_events: list[Any]) -> list[Any]:
    return [event for event in log_events if event["event"] == "request"]


async def ready(gateway: Gateway) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/ready") as response:
        return response.status, await response.json()


async def failure(gateway: Gateway, text: str, **parameters: Any) -> tuple[int, Any, Any]:
    """Status, error and headers of a chat that fails."""
    async with gateway.post_chat(text, **parameters) as response:
        raw = await response.text()
        for name in NAMES:
            assert name not in raw + str(response.headers), "no answer names an account"
        return response.status, json.loads(raw)["error"], response.headers


class TestSharing:
    async def test_each_of_three_open_streams_has_an_account_of_its_own(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect
    ) -> None:
        gateway = await start_gateway(fitten=settings(3))
        await logged_in(emulator, 3)
        for number in range(1, 4):
            peer = await connect(gateway.url)
            await peer.send(chat_request("[[silent]]", stream=True))
            await eventually(partial(is_asked, emulator, number))
        assert sorted(serving(emulator)) == sorted(NAMES)

    async def test_short_requests_one_after_another_are_spread(
        self, start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
    ) -> None:
        gateway = await start_gateway(fitten=settings(3))
        await logged_in(emulator, 3)
        for _ in range(9):
            assert (await gateway.whole("[[say]]"))[0] == 200
        assert set(Counter(serving(emulator)).values()) == {3}
        assert [line["account"] for line in lines(log_events)] == serving(emulator)

    async def test_no_account_has_more_chats_than_it_may(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect
    ) -> None:
        fitten = settings(2, max_concurrent=1)
        fitten["accounts"][1]["max_concurrent"] = 3
        gateway = await start_gateway(fitten=fitten)
        await logged_in(emulator, 2)
        peers = [await connect(gateway.url) for _ in range(6)]
        for peer in peers:
            await peer.send(chat_request("[[silent]]", stream=True))
        await eventually(lambda: len(chats(emulator)) == 4)
        await asyncio.sleep(0.05)
        assert Counter(serving(emulator)) == {"ann77": 1, "bob77": 3}

    async def test_the_models_are_read_with_an_account_that_can(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        emulator.account("ann77").scenarios.add("wrong_password_401")
        await start_gateway(fitten=settings(2))
        await eventually(lambda: emulator.calls_to("/codeapi/chat/models"))

    async def test_the_tokens_of_all_accounts_survive_a_restart(
        self, start_gateway: StartGateway, emulator: Emulator, tmp_path: Path
    ) -> None:
        await start_gateway(fitten=settings(3))
        await logged_in(emulator, 3)

        def stored() -> int:
            path = tmp_path / "fitten.json"
            return path.exists() and len(json.loads(path.read_bytes())["accounts"]) == 3

        await eventually(stored)
        again = await start_gateway(fitten=settings(3))
        for _ in range(3):
            assert (await again.whole("[[say]]"))[0] == 200
        assert len(emulator.calls_to(LOGIN)) == 3


class TestWaiting:
    async def test_a_request_waits_for_a_slot_and_the_log_says_how_long(
        self, start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, max_concurrent=1))
        await logged_in(emulator, 1)
        answers = await asyncio.gather(
            *(gateway.whole("[[slow first=0.1 gap=0]]") for _ in range(3))
        )
        assert [status for status, _ in answers] == [200] * 3
        assert [line["queued_ms"] > 50 for line in lines(log_events)] == [False, True, True]

    async def test_a_request_to_a_full_queue_is_503_with_a_wait(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, max_concurrent=1, queue_length=0))
        await logged_in(emulator, 1)
        peer = await connect(gateway.url)
        await peer.send(chat_request("[[silent]]", stream=True))
        await eventually(lambda: chats(emulator))
        for stream in (True, False):
            status, error, headers = await failure(gateway, "Hi", stream=stream)
            assert (status, error["code"]) == (503, "server_is_overloaded")
            assert 5 <= int(headers["Retry-After"]) <= 6
            assert headers["x-should-retry"] == "true"
        assert len(chats(emulator)) == 1

    async def test_too_long_in_the_queue_is_503(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, max_concurrent=1, queue_wait=0.1))
        await logged_in(emulator, 1)
        peer = await connect(gateway.url)
        await peer.send(chat_request("[[silent]]", stream=True))
        await eventually(lambda: chats(emulator))
        status, error, headers = await failure(gateway, "Hi", stream=True)
        assert (status, error["code"]) == (503, "server_is_overloaded")
        assert headers["Retry-After"]

    async def test_a_request_that_only_waits_until_the_first_piece_limit_gets_the_queue_error(
        self,
        start_gateway: StartGateway,
        emulator: Emulator,
        connect: Connect,
        log_events: list[dict[str, Any]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(failover, "_REPLY_MARGIN", 5.0)  # of which a busy machine needs more
        gateway = await start_gateway(
            fitten=settings(1, max_concurrent=1, queue_wait=30) | {"timeouts": {"first_piece": 5.3}}
        )
        await logged_in(emulator, 1)
        peer = await connect(gateway.url)
        await peer.send(chat_request("[[endless]]", stream=True))
        await eventually(lambda: chats(emulator))
        status, error, _ = await failure(gateway, "Hi")
        assert (status, error["code"]) == (503, "server_is_overloaded")
        (line,) = lines(log_events)
        assert line["queued_ms"] > 200

    async def test_in_the_queue_comments_are_sent_after_the_grace_and_nothing_before_it(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect
    ) -> None:
        gateway = await start_gateway(
            fitten=settings(1, max_concurrent=1, queue_wait=2.0),
            stream={"grace": 0.1, "keep_alive": 0.05},
        )
        await logged_in(emulator, 1)
        peer = await connect(gateway.url)
        await peer.send(chat_request("[[silent]]", stream=True))
        await eventually(lambda: chats(emulator))
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with gateway.post_chat("Hi", stream=True) as response:
            assert loop.time() - began >= 0.095
            assert response.status == 200
            raw = await response.read()
        assert raw.count(b": keep-alive") >= 2
        (*_, last) = frames(raw)
        assert last["error"]["code"] == "server_is_overloaded"

    async def test_a_client_that_leaves_the_queue_makes_room_at_once(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, max_concurrent=1, queue_length=1))
        await logged_in(emulator, 1)
        holder = await connect(gateway.url)
        await holder.send(chat_request("[[silent]]", stream=True))
        await eventually(lambda: chats(emulator))
        waiter = await connect(gateway.url)
        await waiter.send(chat_request("waiting", stream=True))
        await eventually(lambda: held_slots(gateway).queued == 1)
        assert (await failure(gateway, "no room"))[0] == 503
        waiter.reset()
        await eventually(lambda: held_slots(gateway).queued == 0)
        late = asyncio.create_task(gateway.whole("[[say]]"))
        await eventually(lambda: held_slots(gateway).queued == 1)
        holder.reset()
        assert (await late)[0] == 200
        assert len(chats(emulator)) == 2, "who left was never asked for"

    async def test_a_batch_of_one_key_does_not_keep_another_waiting(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, max_concurrent=1), middlewares=TWO_KEYS)
        await logged_in(emulator, 1)
        batch = [
            asyncio.create_task(gateway.whole(f"[[slow first=3600 gap=0]] batch {i}"))
            for i in range(6)
        ]
        await eventually(lambda: held_slots(gateway).queued == 5)
        headers = {"Authorization": f"Bearer {OTHER_KEY}"}

        async def ask() -> int:
            async with gateway.post_chat("[[say]] other", headers=headers) as response:
                status: int = response.status
                return status

        other = asyncio.create_task(ask())
        await eventually(lambda: held_slots(gateway).queued == 6)
        while not all(task.done() for task in (other, *batch)):
            emulator.release()
            await asyncio.sleep(0.003)
        assert "other" in "".join(call.body["inputs"] for call in chats(emulator)[:3])
        assert await other == 200
        assert [status for status, _ in await asyncio.gather(*batch)] == [200] * 6


class TestFailing:
    async def test_a_rate_limited_account_cools_while_another_serves(
        self, start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
    ) -> None:
        emulator.account("ann77").scenarios.add("chat_429")
        gateway = await start_gateway(fitten=settings(2))
        await logged_in(emulator, 2)
        stopped(gateway)
        for _ in range(6):
            assert (await gateway.whole("[[say]]"))[0] == 200
        assert Counter(serving(emulator)) == {"ann77": 1, "bob77": 6}
        (cooling,) = [e for e in log_events if e["event"] == "account_cooling"]
        assert (cooling["account"], cooling["code"]) == ("ann77", "upstream_rate_limited")
        assert (await ready(gateway))[0] == 200

    async def test_after_its_pause_one_request_probes_the_account(
        self, start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
    ) -> None:
        emulator.account("ann77").scenarios.add("chat_503")
        gateway = await start_gateway(
            fitten=settings(2, breaker_failures=1, breaker_pause=100.0, retry_ratio=1)
        )
        await logged_in(emulator, 2)
        clock = stopped(gateway)
        numbers = itertools.count()

        async def burst() -> Counter[str]:
            emulator.calls.clear()
            prompts = [f"[[say]] {next(numbers)}" for _ in range(4)]
            answers = await asyncio.gather(*map(gateway.whole, prompts))
            assert [status for status, _ in answers] == [200] * 4
            return Counter(serving(emulator))

        await burst()
        assert await burst() == {"bob77": 4}
        clock.now += 200
        assert await burst() == {"ann77": 1, "bob77": 4}, "one probe, which failed"
        clock.now += 200
        emulator.account("ann77").scenarios.clear()
        assert (await burst())["ann77"] >= 1
        assert [e for e in log_events if e["event"] == "account_recovered"]
        assert (await burst())["ann77"] == 2

    async def test_an_account_whose_password_is_refused_is_dead_and_the_others_serve(
        self, start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
    ) -> None:
        emulator.account("ann77").scenarios.add("wrong_password_401")
        gateway = await start_gateway(fitten=settings(2))
        await logged_in(emulator, 2)
        for _ in range(5):
            assert (await gateway.whole("[[say]]"))[0] == 200
        assert set(serving(emulator)) == {"bob77"}
        assert len(emulator.calls_to(LOGIN)) == 2, "no request makes it try again"
        (refused,) = [e for e in log_events if e["event"] == "session_credentials_refused"]
        assert refused["account"] == "ann77"
        assert (await ready(gateway))[0] == 200

    async def test_an_account_that_is_refused_even_after_a_login_is_dead(
        self, start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
    ) -> None:
        emulator.account("ann77").scenarios.add("chat_always_401")
        gateway = await start_gateway(fitten=settings(2, retry_ratio=1))
        await logged_in(emulator, 2)
        for _ in range(4):
            assert (await gateway.whole("[[say]]"))[0] == 200
        assert Counter(serving(emulator)) == {"ann77": 3, "bob77": 4}
        (dead,) = [e for e in log_events if e["event"] == "account_dead"]
        assert (dead["account"], dead["next_try_in"]) == ("ann77", 30.0)

    async def test_without_any_account_clients_get_an_error_at_once_and_ready_is_false(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        for name in NAMES[:2]:
            emulator.account(name).scenarios.add("chat_429")
        gateway = await start_gateway(fitten=settings(2, retry_ratio=1, queue_wait=0.05))
        await logged_in(emulator, 2)
        stopped(gateway)
        assert (await ready(gateway))[0] == 200
        assert (await failure(gateway, "Hi"))[0] == 429
        calls = len(chats(emulator))
        for stream in (True, False):
            status, error, headers = await failure(gateway, "Hi", stream=stream)
            assert (status, error["code"]) == (429, "upstream_rate_limited")
            assert 1 <= int(headers["Retry-After"]) <= 2
        assert len(chats(emulator)) == calls
        status, body = await ready(gateway)
        assert status == 503
        assert "limits the rate" in body["reason"]

    async def test_queued_requests_get_an_error_when_the_last_account_fails(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        gateway = await start_gateway(
            fitten=settings(
                1, max_concurrent=1, breaker_failures=1, breaker_pause=40.0, queue_wait=30.0
            )
        )
        await logged_in(emulator, 1)
        first = asyncio.create_task(gateway.whole("[[silent]]"))
        await eventually(lambda: chats(emulator))
        waiter = asyncio.create_task(failure(gateway, "Hi"))
        await eventually(lambda: held_slots(gateway).queued == 1)
        await emulator.stop()
        assert (await first)[0] == 502
        status, error, headers = await asyncio.wait_for(waiter, LONGEST_WAIT)
        assert (status, error["code"]) == (503, "no_account_available")
        assert headers["Retry-After"]

    async def test_requests_wait_for_the_end_of_a_short_pause(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        gateway = await start_gateway(
            fitten=settings(1, breaker_failures=1, breaker_pause=0.5, queue_wait=50.0)
        )
        await logged_in(emulator, 1)
        assert (await failure(gateway, "[[status code=500]]"))[0] == 502
        answers = await asyncio.gather(*(gateway.whole(f"[[say]] {i}") for i in range(5)))
        assert [status for status, _ in answers] == [200] * 5


class TestPoisonedPrompts:
    async def test_an_agent_that_repeats_a_failing_request_harms_nobody_else(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, queue_wait=0.05))
        await logged_in(emulator, 1)
        for number in range(20):
            assert (await failure(gateway, "[[status code=500]]"))[0] == 502
            if number % 5 == 4:
                assert (await gateway.whole("[[say]]"))[0] == 200

    async def test_different_prompts_that_fail_still_pause_the_account(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, queue_wait=0.05))
        await logged_in(emulator, 1)
        for number in range(5):
            assert (await failure(gateway, f"[[status code=500]] {number}"))[0] == 502
        assert (await failure(gateway, "[[say]]"))[0] == 503

    async def test_the_prompt_that_began_a_pause_does_not_probe(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        gateway = await start_gateway(
            fitten=settings(1, breaker_failures=1, breaker_pause=0.1, queue_wait=30.0)
        )
        await logged_in(emulator, 1)
        assert (await failure(gateway, "[[status code=500]]"))[0] == 502
        again = asyncio.create_task(failure(gateway, "[[status code=500]]"))
        await eventually(lambda: held_slots(gateway).queued == 1)
        await asyncio.sleep(0.3)
        assert len(chats(emulator)) == 1
        assert (await gateway.whole("[[say]]"))[0] == 200  # the probe, though it came later
        assert (await again)[0] == 502

    async def test_a_request_that_fails_on_every_account_marks_none(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        gateway = await start_gateway(
            fitten=settings(2, breaker_failures=1, retry_ratio=1, queue_wait=0.05)
        )
        await logged_in(emulator, 2)
        assert (await failure(gateway, "[[status code=503]]"))[0] == 502
        assert len(chats(emulator)) == 2
        for _ in range(4):
            assert (await gateway.whole("[[say]]"))[0] == 200
        for number in range(4):
            await failure(gateway, f"[[status code=503]] {number}")
        assert (await failure(gateway, "[[say]]"))[0] == 503, "now it is no longer the prompts"


class TestAnotherAccount:
    @pytest.mark.parametrize(
        "marker",
        [
            "status code=429 times=1",
            "status code=502 times=1",
            "status code=503 times=1",
            "status code=504 times=1",
            "status code=403 times=1",
        ],
    )
    @pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
    async def test_is_asked_before_the_first_byte(
        self, start_gateway: StartGateway, emulator: Emulator, marker: str, stream: bool
    ) -> None:
        gateway = await start_gateway(fitten=settings(2))
        await logged_in(emulator, 2)
        async with gateway.post_chat(f"[[{marker}]]", stream=stream) as response:
            assert response.status == 200
            assert "world" in await response.text()
        assert sorted(serving(emulator)) == ["ann77", "bob77"]

    @pytest.mark.parametrize(
        "marker", ["status code=500 times=1", "status code=400 times=1", "html_200", "empty"]
    )
    async def test_is_not_asked_what_the_first_may_have_worked_on_or_refused(
        self, start_gateway: StartGateway, emulator: Emulator, marker: str
    ) -> None:
        gateway = await start_gateway(fitten=settings(2))
        await logged_in(emulator, 2)
        assert (await failure(gateway, f"[[{marker}]]"))[0] == 502
        assert len(chats(emulator)) == 1

    @pytest.mark.parametrize("marker", ["reset", "error_middle", "truncate"])
    async def test_is_never_asked_after_the_first_byte(
        self, start_gateway: StartGateway, emulator: Emulator, marker: str
    ) -> None:
        gateway = await start_gateway(fitten=settings(3, retry_ratio=1))
        await logged_in(emulator, 3)
        parsed = await gateway.stream(f"[[{marker}]]")
        assert content(parsed)
        assert "[DONE]" not in parsed
        assert parsed[-1]["error"]
        assert len(chats(emulator)) == 1

    async def test_is_not_asked_beyond_the_budget(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        gateway = await start_gateway(fitten=settings(2, retry_ratio=0))
        await logged_in(emulator, 2)
        assert (await failure(gateway, "[[status code=503 times=1]]"))[0] == 502
        assert len(chats(emulator)) == 1

    async def test_is_waited_for_when_it_is_busy(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        emulator.account("ann77").scenarios.add("chat_429")
        gateway = await start_gateway(fitten=settings(2, max_concurrent=1, retry_ratio=1))
        await logged_in(emulator, 2)
        answers = await asyncio.gather(
            *(gateway.whole("[[slow first=0.05 gap=0]]") for _ in range(4))
        )
        assert [status for status, _ in answers] == [200] * 4


class TestCompletions:
    async def test_are_made_while_every_slot_for_chats_is_taken(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, max_concurrent=1, queue_length=0))
        await logged_in(emulator, 1)
        peer = await connect(gateway.url)
        await peer.send(chat_request("[[silent]]", stream=True))
        await eventually(lambda: chats(emulator))
        assert await completion(gateway, "a.py") == 200

    async def test_of_one_file_stay_with_the_account_that_has_seen_it(
        self, start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
    ) -> None:
        gateway = await start_gateway(fitten=settings(3))
        await logged_in(emulator, 3)
        for _ in range(4):
            assert await completion(gateway, "a.py") == 200
        assert len({line["account"] for line in lines(log_events)}) == 1

    async def test_go_to_the_account_that_can(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        emulator.account("ann77").scenarios.add("wrong_password_401")
        gateway = await start_gateway(fitten=settings(2))
        await logged_in(emulator, 2)
        assert [await completion(gateway, f"{i}.py") for i in range(4)] == [200] * 4

    async def test_are_refused_at_once_when_no_account_can(
        self, start_gateway: StartGateway, emulator: Emulator
    ) -> None:
        emulator.account("ann77").scenarios.add("wrong_password_401")
        gateway = await start_gateway(fitten=settings(1))
        await logged_in(emulator, 1)
        assert await completion(gateway, "a.py") == 503


async def completion(gateway: Gateway, filename: str) -> int:
    """The status of a code completion."""
    text = "<|fim_prefix|>a = <|fim_suffix|>\n<|fim_middle|>"
    prompt = f"<|repo_name|>demo\n<|file_sep|>{filename}\n{text}"
    body = {"prompt": prompt}
    async with gateway.http.post(f"{gateway.url}/v1/completions", json=body) as response:
        await response.read()
        return response.status


class TestSlots:
    """With one slot and an empty queue, the next request shows whether the slot came back."""

    @pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
    @pytest.mark.parametrize(
        "marker",
        [
            "say",
            "status code=500",
            "status code=400",
            "unauthorized times=2",
            "html_200",
            "empty",
            "error_200",
            "reset",
            "reset_before_headers",
            "truncate",
            "error_middle",
            "silent",
            "no_headers",
            "slow first=0 gap=3600 n=2",
        ],
    )
    async def test_a_slot_comes_back_however_the_answer_ends(
        self, start_gateway: StartGateway, emulator: Emulator, marker: str, stream: bool
    ) -> None:
        gateway = await start_gateway(
            fitten=settings(1, max_concurrent=1, queue_length=0)
            | {"timeouts": {"first_piece": 1.5, "between_pieces": 1.5}}
        )
        await logged_in(emulator, 1)
        async with gateway.post_chat(f"[[{marker}]]", stream=stream) as response:
            await response.read()
        assert (await gateway.whole("[[say]]"))[0] == 200

    @pytest.mark.parametrize("marker", ["silent", "no_headers", "endless"])
    async def test_a_slot_comes_back_when_the_client_leaves(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect, marker: str
    ) -> None:
        gateway = await start_gateway(fitten=settings(1, max_concurrent=1, queue_length=0))
        await logged_in(emulator, 1)
        for _ in range(3):
            peer = await connect(gateway.url)
            await peer.send(chat_request(f"[[{marker}]]", stream=True))
            call = await eventually(lambda: chats(emulator) and chats(emulator)[-1])
            await asyncio.sleep(0.02)
            peer.reset()
            await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
            assert (await gateway.whole("[[say]]"))[0] == 200
            emulator.calls.clear()

    async def test_a_slot_comes_back_when_the_client_leaves_during_the_login(
        self, start_gateway: StartGateway, emulator: Emulator, connect: Connect
    ) -> None:
        emulator.account("ann77").scenarios.add("login_slow")
        emulator.change_slow(NEVER)
        gateway = await start_gateway(fitten=settings(1, max_concurrent=1, queue_length=0))
        peer = await connect(gateway.url)
        await peer.send(chat_request("[[say]]", stream=True))
        await eventually(lambda: held_slots(gateway).chats == 1)
        peer.reset()
        await eventually(lambda: held_slots(gateway).chats == 0)
        emulator.release()
        assert (await gateway.whole("[[say]]"))[0] == 200
