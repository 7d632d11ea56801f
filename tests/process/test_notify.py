"""The datagrams that systemd gets."""

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
from tests.process.systemd import FakeSystemd, monotonic_usec
from tests.waiting import NEVER, eventually

READY = "READY=1\nSTATUS=serving: 0 requests open, 1 of 1 accounts healthy"


async def test_ready_is_the_first_datagram_and_comes_from_the_main_process(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    service = await fake_systemd.start()
    assert fake_systemd.datagrams[0] == READY
    assert fake_systemd.senders == {service.pid}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_an_idle_service_says_that_it_stops_and_ends_at_once(
    fake_systemd: FakeSystemd, configure: Configure, number: int
) -> None:
    configure(server={"drain_timeout": NEVER})
    service = await fake_systemd.start()
    since = len(fake_systemd.datagrams)
    service.signal(number)
    assert await service.exit_status() == 0
    assert fake_systemd.datagrams[since] == "STOPPING=1"


async def test_ready_is_sent_although_fitten_cannot_be_reached(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    dead = "http://127.0.0.1:9"
    configure(fitten={"base_url": dead, "models_url": dead})
    await fake_systemd.start()
    assert "READY=1\nSTATUS=serving: 0 requests open, 0 of 1 accounts healthy" in (
        fake_systemd.datagrams
    )


async def test_an_abstract_socket_is_found(tmp_path: Path, configure: Configure) -> None:
    fake_systemd = FakeSystemd(tmp_path, f"@fitten-gateway-test-{time.monotonic_ns()}")
    try:
        await fake_systemd.start()
        assert READY in fake_systemd.datagrams
    finally:
        await fake_systemd.close()


async def test_the_watchdog_is_fed_repeatedly(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    await fake_systemd.start(environ={"WATCHDOG_USEC": "400000"})
    await eventually(lambda: fake_systemd.datagrams.count("WATCHDOG=1") >= 4)


async def test_a_watchdog_of_another_process_is_not_fed(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    await fake_systemd.start(environ={"WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"})
    await asyncio.sleep(0.2)
    assert "WATCHDOG=1" not in fake_systemd.datagrams


class RecordingNotifier(systemd.SystemdNotifier):
    """Notes when the watchdog was fed."""

    def __init__(self, watchdog: float) -> None:
        super().__init__(watchdog=watchdog)
        self.fed: list[float] = []

    def alive(self) -> None:
        self.fed.append(asyncio.get_running_loop().time())


@pytest.mark.parametrize("seconds", [0.4, 1.0, 30.0])
def test_the_watchdog_is_fed_twice_in_its_time(seconds: float) -> None:
    async def main() -> None:
        notifier = RecordingNotifier(seconds)
        task = asyncio.create_task(watchdog.keep_alive(notifier, lambda: "serving"))
        await asyncio.sleep(10 * seconds)
        task.cancel()
        gaps = [later - earlier for earlier, later in itertools.pairwise(notifier.fed)]
        assert len(gaps) >= 19
        assert max(gaps) <= seconds / 2 + 1e-6

    virtualtime.run(main())


def test_an_event_loop_that_is_always_late_does_not_feed_the_watchdog() -> None:
    async def main() -> None:
        notifier = RecordingNotifier(0.2)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtualtime.VirtualTime)
        task = asyncio.create_task(watchdog.keep_alive(notifier, lambda: "serving"))
        await asyncio.sleep(0)
        assert len(notifier.fed) == 1
        for _ in range(5):
            loop.now += 0.1  # as a call that blocks the event loop
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(notifier.fed) == 1
        await asyncio.sleep(0.2)
        assert len(notifier.fed) > 1
        task.cancel()

    virtualtime.run(main())


async def test_draining_is_reported_with_time_to_wait_for_it(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    service = await fake_systemd.start()
    peer = await connect(fake_systemd.url)
    await peer.send(chat_request("[[endless]]", stream=True))
    assert (await peer.head())[0] == 200
    await fake_systemd.wait_for("STATUS=serving: 1 requests open, 1 of 1 accounts healthy")
    since = len(fake_systemd.datagrams)
    service.signal(signal.SIGTERM)
    assert b'"code":"draining"' in await peer.rest()
    assert await service.exit_status() == 0
    said = fake_systemd.datagrams[since:]
    assert said[0] == "STOPPING=1"
    assert "EXTEND_TIMEOUT_USEC=10000000" in said[1:]
    assert any(
        re.fullmatch(r"STATUS=draining: 1 requests open, at most [012] s left", one) for one in said
    )
    assert not [one for one in said if one.startswith(("READY", "RELOADING"))]


async def test_the_second_signal_ends_a_draining_service_at_once(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    configure(server={"drain_timeout": NEVER})
    service = await fake_systemd.start()
    peer = await connect(fake_systemd.url)
    await peer.send(chat_request("[[endless]]", stream=True))
    assert (await peer.head())[0] == 200
    service.signal(signal.SIGTERM)
    await service.event("draining")
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 128 + signal.SIGTERM


async def test_a_reload_is_reported_with_its_time_in_one_datagram(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    service = await fake_systemd.start()
    since, before = len(fake_systemd.datagrams), monotonic_usec()
    assert await fake_systemd.reload(service) == READY
    found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", fake_systemd.datagrams[since])
    assert found
    assert before <= int(found[1]) <= monotonic_usec()


async def test_the_end_can_be_asked_for_before_the_start_is_done(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    """Fitten takes the login and does not answer it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        never = {"timeouts": {"call": NEVER}}
        configure(fitten={"base_url": url, "models_url": url, **never})
        service = await fake_systemd.start(wait=False)
        await service.event("listening")
        service.signal(signal.SIGTERM)
        assert await service.exit_status() == 0
    assert fake_systemd.datagrams[0] == "STOPPING=1"
    assert not [one for one in fake_systemd.datagrams if one.startswith("READY=1")]


def test_the_variables_are_removed_for_child_processes() -> None:
    environ = {
        "NOTIFY_SOCKET": "/nowhere",
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "http",
        "HOME": "/root",
    }
    notifier = systemd.SystemdNotifier.from_environ(environ)
    assert notifier.watchdog is None
    notifier.close()
    assert systemd.inherited_sockets(environ) == []
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize("address", ["", "vsock:2:9", "relative/socket"])
def test_without_a_notify_socket_nothing_is_sent(address: str) -> None:
    notifier = systemd.SystemdNotifier.from_environ({"NOTIFY_SOCKET": address})
    assert not notifier.enabled
    notifier.ready("")


def test_a_notify_socket_that_is_gone_is_no_error(tmp_path: Path) -> None:
    notifier = systemd.SystemdNotifier(str(tmp_path / "gone"))
    notifier.ready("serving")
    notifier.alive()
    notifier.close()
