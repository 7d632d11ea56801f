"""A reload within the process: what is kept of the former application, and what is not."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from emulator import Emulator
from gateway.config.settings import Config
from gateway.server import single_process
from gateway.server.reload import ConfigSource, ReloadRefused, reload_entrypoint
from tests.conftest import StartGateway
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway
from tests.waiting import eventually


def settings_of(gateway: Gateway, fault: Exception | None = None) -> ConfigSource:
    """Return the same settings each time; `fault` is raised when they are to be adopted."""

    def adopt(_: Config) -> None:
        if fault is not None:
            raise fault

    return ConfigSource(lambda: gateway.config, adopt, lambda: None, lambda _: None)


async def left(gateway: Gateway) -> None:
    """Wait until former applications have ended."""
    await eventually(lambda: not gateway.entrypoint.draining_apps)


async def test_nothing_keeps_a_former_application_in_memory(gateway: Gateway) -> None:
    settings = settings_of(gateway)
    former = []
    for _ in range(3):
        former.append(weakref.ref(gateway.entrypoint.app))
        await gateway.stream("[[say]]")
        await reload_entrypoint(gateway.entrypoint, settings)
    await gateway.stream("[[say]]")
    await left(gateway)
    gc.collect()
    assert [app() for app in former] == [None] * 3


async def test_what_is_reserved_for_answers_is_still_known_after_a_reload(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(limits={"tokens_per_day": 100_000})

    async def reserved() -> int:
        async with gateway.post_chat("[[say text=one%20two]]") as response:
            assert response.status == 200
            left = int(response.headers["x-fitten-budget-remaining-tokens"])
        async with gateway.http.get(f"{gateway.url}/v1/usage") as response:
            limits = (await response.json())["limits"]
        (unused,) = (limit["left"] for limit in limits if limit["limit"] == "tokens_per_day")
        return int(unused) - left  # how much more was reserved than used

    first = await reserved()
    assert first > 400
    for _ in range(8):
        learnt = await reserved()
    assert learnt < 100
    await reload_entrypoint(gateway.entrypoint, settings_of(gateway))
    assert await reserved() == learnt


async def test_an_application_stays_until_its_last_request_is_answered(
    gateway: Gateway, emulator: Emulator
) -> None:
    async with gateway.post_chat("[[slow first=0 gap=3600 n=2]]", stream=True) as response:
        await response.content.readany()
        await reload_entrypoint(gateway.entrypoint, settings_of(gateway))
        await asyncio.sleep(0.1)
        assert gateway.entrypoint.draining_apps == 1
        emulator.release()
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
    await left(gateway)
    assert gateway.entrypoint.draining_apps == 0


async def test_after_a_reload_lost_connections_are_repeated_from_the_same_budget(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(fitten={"pool": {"retry_ratio": 1, "breaker_failures": 0}})
    for _ in range(4):  # each adds one repeat to the budget
        await gateway.whole("[[say]]")
    await reload_entrypoint(gateway.entrypoint, settings_of(gateway))
    before = len(emulator.calls_to(UPSTREAM_CHAT))
    for number in range(4):
        status, _ = await gateway.whole(f"[[reset_before_headers]] {number}")
        assert status == 502
    assert len(emulator.calls_to(UPSTREAM_CHAT)) - before == 2 * 4


async def test_a_stop_ends_former_applications_too(gateway: Gateway) -> None:
    entrypoint = await single_process.start_entrypoint(gateway.config)
    body = {"messages": [{"role": "user", "content": "[[endless]]"}], "stream": True}
    url = f"{single_process.url_of_entrypoint(entrypoint)}/v1/chat/completions"
    async with gateway.http.post(url, json=body) as response:
        await response.content.readany()
        await reload_entrypoint(entrypoint, settings_of(gateway))
        assert entrypoint.draining_apps == 1
        await single_process.stop_entrypoint(entrypoint, 0.1, grace=0)
        assert b'"code":"draining"' in await response.read()
    assert entrypoint.draining_apps == 0


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), RuntimeError("no")])
async def test_a_failure_in_the_last_phase_leaves_the_former_application(
    gateway: Gateway, fault: Exception
) -> None:
    settings = settings_of(gateway, fault)
    before = gateway.entrypoint.app
    with pytest.raises(ReloadRefused):
        await reload_entrypoint(gateway.entrypoint, settings)
    assert gateway.entrypoint.app is before
    assert (await gateway.whole("[[say]]"))[0] == 200


async def test_a_cancelled_reload_leaves_the_former_application(gateway: Gateway) -> None:
    before = gateway.entrypoint.app
    task = asyncio.create_task(reload_entrypoint(gateway.entrypoint, settings_of(gateway)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gateway.entrypoint.app is before
    assert (await gateway.whole("[[say]]"))[0] == 200
