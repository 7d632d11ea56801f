"""What a supervisor is told, datagram by datagram."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from gateway.server import systemd, watchdog
from tests import virtualtime
from tests.integration.conftest import Connect
from tests.integration.peer import chat_request
from tests.process.conftest import Configure
from tests.process.supervisor import FakeSystemd, monotonic_usec
from tests.waiting import NEVER, eventually

READY = "READY=1\nSTATUS=serving: 0 requests open, 1 of 1 accounts healthy"


async def test_ready_is_told_first_of_all_and_by_the_main_process(
    supervisor: FakeSystemd, configure: Configure
) -> None:
    service = await supervisor.start()
    assert supervisor.datagrams[0] == READY
    assert supervisor.senders == {service.pid}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_an_idle_service_says_that_it_stops_and_ends_at_once(
    supervisor: FakeSystemd, configure: Configure, number: int
) -> None:
    configure(server={"drain_timeout": NEVER})
    service = await supervisor.start()
    since = len(supervisor.datagrams)
    service.signal(number)
    assert await service.exit_status() == 0
    assert supervisor.datagrams[since] == "STOPPING=1"


async def test_ready_is_told_although_fitten_cannot_be_reached(
    supervisor: FakeSystemd, configure: Configure
) -> None:
    dead = "http://127.0.0.1:9"
    configure(fitten={"base_url": dead, "models_url": dead})
    await supervisor.start()
    assert "READY=1\nSTATUS=serving: 0 requests open, 0 of 1 accounts healthy" in (
        supervisor.datagrams
    )


async def test_an_abstract_socket_is_found(tmp_path: Path, configure: Configure) -> None:
    supervisor = FakeSystemd(tmp_path, f"@fitten-gateway-test-{time.monotonic_ns()}")
    try:
        await supervisor.start()
        assert READY in supervisor.datagrams
    finally:
        await supervisor.close()


async def test_the_watchdog_is_fed_again_and_again(
    supervisor: FakeSystemd, configure: Configure
) -> None:
    await supervisor.start(environ={"WATCHDOG_USEC": "400000"})
    await eventually(lambda: supervisor.datagrams.count("WATCHDOG=1") >= 4)


async def test_a_watchdog_of_another_process_is_not_fed(
    supervisor: FakeSystemd, configure: Configure
) -> None:
    await supervisor.start(environ={"WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"})
    await asyncio.sleep(0.2)
    assert "WATCHDOG=1" not in supervisor.datagrams


class Heard(systemd.SystemdNotifier):
    """Notes when the watchdog was fed."""

    def __init__(self, watchdog: float) -> None:
        super().__init__(watchdog=watchdog)
        self.fed: list[float] = []

    def alive(self) -> None:
        self.fed.append(asyncio.get_running_loop().time())


@pytest.mark.parametrize("seconds", [0.4, 1.0, 30.0])
def test_the_watchdog_is_fed_twice_in_its_time(seconds: float) -> None:
    async def main() -> None:
        supervisor = Heard(seconds)
        beating = asyncio.create_task(watchdog.keep_alive(supervisor, lambda: "serving"))
        await asyncio.sleep(10 * seconds)
        beating.cancel()
        gaps = [later - earlier for earlier, later in itertools.pairwise(supervisor.fed)]
        assert len(gaps) >= 19
        assert max(gaps) <= seconds / 2 + 1e-6

    virtualtime.run(main())


def test_an_event_loop_that_is_always_late_does_not_feed_the_watchdog() -> None:
    async def main() -> None:
        supervisor = Heard(0.2)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtualtime.VirtualTime)
        beating = asyncio.create_task(watchdog.keep_alive(supervisor, lambda: "serving"))
        await asyncio.sleep(0)
        assert len(supervisor.fed) == 1
        for _ in range(5):
            loop.now += 0.1  # what a stuck step does
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(supervisor.fed) == 1
        await asyncio.sleep(0.2)
        assert len(supervisor.fed) > 1
        beating.cancel()

    virtualtime.run(main())


async def test_draining_is_told_with_time_to_wait_for_it(
    supervisor: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    service = await supervisor.start()
    peer = await connect(supervisor.url)
    await peer.send(chat_request("[[endless]]", stream=True))
    assert (await peer.head())[0] == 200
    await supervisor.told("STATUS=serving: 1 requests open, 1 of 1 accounts healthy")
    since = len(supervisor.datagrams)
    service.signal(signal.SIGTERM)
    assert b'"code":"draining"' in await peer.rest()
    assert await service.exit_status() == 0
    said = supervisor.datagrams[since:]
    assert said[0] == "STOPPING=1"
    assert "EXTEND_TIMEOUT_USEC=10000000" in said[1:]
    assert any(
        re.fullmatch(r"STATUS=draining: 1 requests open, at most [012] s left", one) for one in said
    )
    assert not [one for one in said if one.startswith(("READY", "RELOADING"))]


async def test_the_second_signal_ends_a_draining_service_at_once(
    supervisor: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    configure(server={"drain_timeout": NEVER})
    service = await supervisor.start()
    peer = await connect(supervisor.url)
    await peer.send(chat_request("[[endless]]", stream=True))
    assert (await peer.head())[0] == 200
    service.signal(signal.SIGTERM)
    await service.event("draining")
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 128 + signal.SIGTERM


async def test_a_reload_is_told_with_its_time_in_one_datagram(
    supervisor: FakeSystemd, configure: Configure
) -> None:
    service = await supervisor.start()
    since, before = len(supervisor.datagrams), monotonic_usec()
    assert await supervisor.reload(service) == READY
    found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", supervisor.datagrams[since])
    assert found
    assert before <= int(found[1]) <= monotonic_usec()


async def test_the_end_can_be_asked_for_before_the_start_is_done(
    supervisor: FakeSystemd, configure: Configure
) -> None:
    """Fitten takes the login and does not answer it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        never = {"timeouts": {"call": NEVER}}
        configure(fitten={"base_url": url, "models_url": url, **never})
        service = await supervisor.start(wait=False)
        await service.event("listening")
        service.signal(signal.SIGTERM)
        assert await service.exit_status() == 0
    assert supervisor.datagrams[0] == "STOPPING=1"
    assert not [one for one in supervisor.datagrams if one.startswith("READY=1")]


def test_the_variables_are_not_for_children() -> None:
    environ = {
        "NOTIFY_SOCKET": "/nowhere",
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "http",
        "HOME": "/root",
    }
    supervisor = systemd.SystemdNotifier.from_environ(environ)
    assert supervisor.watchdog is None
    supervisor.close()
    assert systemd.inherited_sockets(environ) == []
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize("address", ["", "vsock:2:9", "relative/socket"])
def test_where_nobody_listens_nothing_is_told(address: str) -> None:
    supervisor = systemd.SystemdNotifier.from_environ({"NOTIFY_SOCKET": address})
    assert not supervisor.enabled
    supervisor.ready("")


def test_a_supervisor_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    supervisor = systemd.SystemdNotifier(str(tmp_path / "gone"))
    supervisor.ready("serving")
    supervisor.alive()
    supervisor.close()
