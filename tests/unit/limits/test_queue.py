"""The line of a caller at its own concurrency. Time is virtual."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from datetime import UTC

from gateway.limits.claims import Claim, Scope, Verdict
from gateway.limits.meter import LocalMeter
from gateway.limits.names import Kind
from gateway.limits.queue import AdmissionQueue
from tests.unit.limits.support import gateway, key, team
from tests.virtualtime import run


class QueueRun:
    """A queue, and the order in which its claims are admitted."""

    def __init__(self, *scopes: Scope, wait: float = 10.0, **bounds: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.meter = LocalMeter(self.loop.time, lambda: 1e9 + self.loop.time(), UTC)
        self.queue = AdmissionQueue(self.meter, wait, **bounds)
        self.scopes = scopes
        self.admitted: list[str] = []
        self.tasks: dict[str, asyncio.Task[Verdict]] = {}

    async def come(
        self,
        name: str,
        *scopes: Scope,
        conversation: str = "",
        side_call: bool = False,
    ) -> asyncio.Task[Verdict]:
        claim = Claim(
            name,
            scopes or self.scopes,
            "chat",
            20,
            10,
            conversation=conversation,
            side_call=side_call,
        )

        async def waited() -> Verdict:
            verdict = await self.queue.claim(claim)
            if verdict.admitted:
                self.admitted.append(name)
            return verdict

        self.tasks[name] = self.loop.create_task(waited())
        await self.settled()
        return self.tasks[name]

    async def settled(self) -> None:
        """Let every task run that can."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self, names: Iterable[str]) -> None:
        for name in names:
            self.queue.settle(name, 15)
            await self.settled()

    def used(self, scope: Scope, limit: str) -> int:
        return next(s.used for s in self.meter.standings([scope]) if s.limit == limit)


def test_a_caller_at_its_concurrency_waits_until_one_of_its_requests_ends() -> None:
    async def scenario() -> None:
        line = QueueRun(key(concurrency=2))
        for name in "abc":
            await line.come(name)
        assert line.admitted == ["a", "b"]
        assert line.queue.waiting == 1
        await asyncio.sleep(9)
        await line.end("b")
        assert line.admitted == ["a", "b", "c"]
        assert line.queue.waiting == 0
        assert line.meter.open == 2

    run(scenario())


def test_a_verdict_says_how_long_its_claim_was_in_line() -> None:
    async def scenario() -> None:
        line = QueueRun(key(concurrency=1))
        first = await line.come("a")
        second, third = await line.come("b"), await line.come("c")
        await asyncio.sleep(4)
        await line.end("a")
        await asyncio.sleep(20)
        waited = [task.result().waited for task in (first, second, third)]
        assert waited == [0, 4, 10]

    run(scenario())


def test_who_has_waited_long_enough_is_refused_with_the_limit() -> None:
    async def scenario() -> None:
        line = QueueRun(key(concurrency=1))
        await line.come("a")
        begin = line.loop.time()
        waiting = await line.come("b")
        verdict = await waiting
        assert line.loop.time() == begin + 10
        assert (verdict.admitted, verdict.scope) == (False, "key alice")
        assert (verdict.limit, verdict.retry_after) == ("concurrency", 1.0)
        assert line.queue.waiting == 0
        await line.end("a")
        assert line.admitted == ["a"]
        assert line.meter.open == 0

    run(scenario())


def test_the_concurrency_of_a_team_and_other_limits_refuse_at_once() -> None:
    async def scenario() -> None:
        line = QueueRun(key(concurrency=1), team(concurrency=1))
        await line.come("a")
        assert (await line.come("b")).result().scope == "key alice"
        other = await line.come("c", key("bob", concurrency=3), team(concurrency=1))
        assert (other.result().scope, other.result().retry_after) == ("team web", 1.0)
        none = await line.come("d", key("eve", concurrency=0))
        assert not none.result().satisfiable
        assert line.queue.waiting == 0

    run(scenario())


def test_who_waits_is_refused_when_another_limit_is_reached_meanwhile() -> None:
    async def scenario() -> None:
        small = gateway(requests_per_day=2)
        line = QueueRun(key(concurrency=1), small)
        await line.come("a")
        waiting = await line.come("b")
        await line.come("c", key("bob"), small)
        await line.end("a")
        assert waiting.result().limit == "requests_per_day"
        assert line.queue.waiting == 0

    run(scenario())


def test_conversations_of_a_caller_take_turns_and_side_calls_go_last() -> None:
    async def scenario() -> None:
        line = QueueRun(key(concurrency=1))
        await line.come("first")
        await line.come("title", conversation="y", side_call=True)
        for name in ("x1", "x2", "x3"):
            await line.come(name, conversation="x")
        for name in ("y1", "y2"):
            await line.come(name, conversation="y")
        for _ in range(7):
            await line.end(line.admitted[-1:])
        assert line.admitted == ["first", "x1", "y1", "x2", "y2", "x3", "title"]

    run(scenario())


def test_keys_do_not_wait_for_each_other() -> None:
    async def scenario() -> None:
        line = QueueRun()
        alice, bob = key("alice", concurrency=1), key("bob", concurrency=1)
        await line.come("a1", alice)
        await line.come("b1", bob)
        await line.come("a2", alice)
        await line.come("b2", bob)
        await line.end(["b1"])
        assert line.admitted == ["a1", "b1", "b2"]

    run(scenario())


def test_a_client_that_leaves_the_line_takes_nothing() -> None:
    async def scenario() -> None:
        limited = key(concurrency=1, chats_per_minute=9)
        line = QueueRun(limited)
        await line.come("a")
        gone = await line.come("b")
        await line.come("c")
        gone.cancel()
        await line.settled()
        assert line.queue.waiting == 1
        await line.end("a")
        assert line.admitted == ["a", "c"]
        assert line.used(limited, "chats_per_minute") == 2

    run(scenario())


def test_a_client_that_leaves_in_the_moment_of_its_turn_gives_it_to_the_next() -> None:
    async def scenario(leaves_first: bool) -> None:
        limited = key(concurrency=1, chats_per_minute=9, tokens_per_day=1000)
        line = QueueRun(limited)
        await line.come("a")
        gone = await line.come("b")
        await line.come("c")
        if leaves_first:
            gone.cancel()
        line.queue.settle("a", 15)
        if not leaves_first:
            gone.cancel()
        await line.settled()
        assert line.admitted == ["a", "c"]
        assert line.used(limited, "chats_per_minute") == 2
        await line.end("c")
        assert line.used(limited, "tokens_per_day") == 30
        assert line.meter.open == line.queue.waiting == 0

    run(scenario(leaves_first=True))
    run(scenario(leaves_first=False))


def test_the_line_is_bounded_for_each_caller_and_for_all() -> None:
    async def scenario() -> None:
        line = QueueRun(most_of_caller=2, most=3)
        alice, bob = key("alice", concurrency=1), key("bob", concurrency=1)
        for name in ("a1", "a2", "a3", "a4"):
            await line.come(name, alice)
        assert line.tasks["a4"].result().limit == "concurrency"
        for name in ("b1", "b2", "b3"):
            await line.come(name, bob)
        assert line.tasks["b3"].result().limit == "concurrency"
        assert line.queue.waiting == 3

    run(scenario())


def test_without_a_wait_there_is_no_line() -> None:
    async def scenario() -> None:
        line = QueueRun(key(concurrency=1), wait=0)
        await line.come("a")
        assert not (await line.come("b")).result().admitted

    run(scenario())


def test_any_mixture_of_ends_and_departures_leaves_nothing_behind() -> None:
    async def scenario(seed: int) -> None:
        chance = random.Random(seed)
        limited = key(concurrency=3, chats_per_minute=10**6, tokens_per_day=10**6)
        line = QueueRun(limited, team(concurrency=50))
        for number in range(150):
            conversation = chance.choice("xyz")
            await line.come(str(number), conversation=conversation, side_call=chance.random() < 0.2)
            assert line.used(limited, "concurrency") <= 3
            for name, task in line.tasks.items():
                if chance.random() < 0.02:
                    task.cancel()
                if chance.random() < 0.05 and name in line.admitted:
                    line.queue.settle(name, chance.randrange(40))
            if chance.random() < 0.1:
                await asyncio.sleep(chance.random() * 6)
            # Nobody waits while there is a place.
            await line.settled()
            assert line.used(limited, "concurrency") == 3 or not line.queue.waiting
        while line.queue.waiting or line.meter.open:
            for name in list(line.admitted):
                line.queue.settle(name, 1)
            await line.settled()
            if not line.meter.open:
                break
        await line.settled()
        assert line.queue.waiting == line.meter.open == 0
        assert line.used(limited, "chats_per_minute") <= len(line.admitted)
        assert all(task.done() for task in line.tasks.values())

    for seed in range(10):
        run(scenario(seed))


USUAL = {
    "chats_per_minute": 60,
    "completions_per_minute": 300,
    "listings_per_minute": 120,
    "concurrency": 8,
}


def test_half_an_hour_of_typing_beside_an_agent_is_never_refused() -> None:
    """With the limits of the usual configuration."""

    async def scenario() -> None:
        line = QueueRun(key(**USUAL))
        chance = random.Random(7)
        refused: list[Verdict] = []
        number = 0

        async def request(kind: Kind, seconds: float, conversation: str) -> None:
            nonlocal number
            number += 1
            claim = Claim(str(number), line.scopes, kind, 900, 400, conversation=conversation)
            verdict = await line.queue.claim(claim)
            if not verdict.admitted:
                refused.append(verdict)
            await asyncio.sleep(seconds)
            line.queue.settle(claim.id, 700)

        async def agent(number: int) -> None:
            while line.loop.time() < 1800:
                await request("chat", chance.uniform(4, 60), f"agent {number}")

        async def typing() -> None:
            async with asyncio.TaskGroup() as completions:
                while line.loop.time() < 1800:
                    completions.create_task(request("completion", chance.uniform(0.2, 3), "editor"))
                    await asyncio.sleep(0.4)

        async with asyncio.TaskGroup() as group:
            for each in range(4):
                group.create_task(agent(each))
            group.create_task(typing())
        assert refused == []
        assert number > 4500
        assert line.meter.open == line.queue.waiting == 0

    run(scenario())


def test_a_loop_of_twenty_chats_a_second_is_refused_within_five_seconds() -> None:
    async def scenario() -> None:
        line = QueueRun(key(**USUAL))
        for number in range(100):
            begun = line.loop.time()
            verdict = await line.queue.claim(Claim(str(number), line.scopes, "chat", 900, 400))
            if not verdict.admitted:
                break
            line.queue.settle(str(number), 500)
            await asyncio.sleep(0.05)
        assert verdict.limit == "chats_per_minute"
        assert begun < 5

    run(scenario())
