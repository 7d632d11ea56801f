"""Does what systemd does for a service: sockets, variables, datagrams."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.waiting import LONGEST_WAIT, eventually

ROOT = Path(__file__).parents[2]
# Only the child itself can set these: LISTEN_PID, and that its descriptors begin with 3.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
_CREDENTIALS = struct.Struct("3i")


class GatewayService:
    """One run of the gateway. `lines` has what it logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[Any] = []
        self.raw = ""
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            self.raw += raw.decode()
            if raw.startswith(b"{"):
                self.lines.append(json.loads(raw))

    async def exit_status(self, *, within: float = LONGEST_WAIT) -> int:
        """Return the exit status, once everything that it logged is read."""
        async with asyncio.timeout(within):
            await asyncio.shield(self._reading)  # a limit that is over ends the wait alone
            return await self.process.wait()

    async def event(self, name: str) -> Any:
        """Return the first log line of that name."""

        def logged() -> Any:
            found = [line for line in self.lines if line["event"] == name]
            assert found or not self._reading.done(), self.raw
            return found

        return (await eventually(logged))[0]

    async def end(self) -> None:
        """Kill it and its workers, whatever happened before."""
        for pid in (self.pid, *children(self.pid)):  # workers have a group of their own
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        try:
            await self.process.wait()
            await asyncio.wait([self._reading], timeout=LONGEST_WAIT)
        finally:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self.process._transport.close()  # type: ignore[attr-defined]  # else it warns


class FakeSystemd:
    """Holds the listening socket and the notify socket; starts and stops services.

    address: of the notify socket; an abstract one begins with @.
    """

    def __init__(self, folder: Path, address: str | None = None) -> None:
        self._folder = folder
        self.stdout = folder / "stdout"  # of all services
        self.address = address or str(folder / "notify")
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.notify.bind(self.address.replace("@", "\0", 1))
        self.notify.setblocking(False)
        self.datagrams: list[str] = []
        self.senders: set[int] = set()
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.notify, self._receive)
        self._services: list[GatewayService] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}"

    def _receive(self) -> None:
        data, extra, *_ = self.notify.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        self.datagrams.append(data.decode())
        for _, _, content in extra:
            self.senders.add(_CREDENTIALS.unpack(content)[0])
        self._arrived.set()

    async def wait_for(
        self, beginning: str, *, since: int = 0, within: float = LONGEST_WAIT
    ) -> str:
        """Return the first datagram, from number `since` on, that begins like this."""
        async with asyncio.timeout(within):
            while True:
                for datagram in self.datagrams[since:]:
                    if datagram.startswith(beginning):
                        return datagram
                self._arrived.clear()
                await self._arrived.wait()

    async def start(
        self,
        *arguments: str,
        sockets: socket.socket | None = None,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        wait: bool = True,
        within: float = LONGEST_WAIT,
    ) -> GatewayService:
        """Start the gateway; with `wait`, until it has said that it is ready.

        prefix: a command that starts the one after it. within: seconds to be ready in.
        """
        socket_passed = sockets or self.listening
        usual = {n: v for n, v in os.environ.items() if not n.startswith("LISTEN_")}
        since = len(self.datagrams)
        with self.stdout.open("ab") as stdout:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-SEc", _START, str(socket_passed.fileno())),
                *(*prefix, sys.executable, "-m", "gateway", "serve"),
                *("--config", str(self._folder / "config.yaml"), *arguments),
                env={
                    **usual,
                    "PYTHONPATH": str(ROOT),
                    "NOTIFY_SOCKET": self.address,
                    "LISTEN_FDS": "1",
                    "LISTEN_FDNAMES": "http",
                    **(environ or {}),
                },
                cwd=self._folder,
                stdout=stdout,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=[socket_passed.fileno()],
                start_new_session=True,  # so that its workers can be ended with it
            )
        service = GatewayService(process)
        self._services.append(service)
        if wait:
            await self._ready(service, since, within)
        return service

    async def _ready(self, service: GatewayService, since: int, within: float) -> None:
        ready = asyncio.create_task(self.wait_for("READY=1", since=since, within=within))
        over = asyncio.create_task(service.process.wait())
        try:
            await asyncio.wait({ready, over}, return_when=asyncio.FIRST_COMPLETED)
            assert ready.done(), service.raw
            await ready
        finally:
            for task in (ready, over):
                task.cancel()
            await asyncio.gather(ready, over, return_exceptions=True)

    async def reload(self, service: GatewayService) -> str:
        """Send SIGHUP; return the datagram that says that the reload is done."""
        since = len(self.datagrams)
        service.signal(signal.SIGHUP)
        await self.wait_for("RELOADING=1", since=since)
        return await self.wait_for("READY=1", since=since)

    def _close_sockets(self) -> None:
        self.notify.close()
        self.listening.close()
        if not self.address.startswith("@"):
            Path(self.address).unlink(missing_ok=True)

    async def close(self) -> None:
        """End all services and leave no socket, also when one of them cannot be ended."""
        try:
            ends = [service.end() for service in self._services]
            ended = await asyncio.gather(*ends, return_exceptions=True)
        finally:
            asyncio.get_running_loop().remove_reader(self.notify)
            self._close_sockets()
        assert ended == [None] * len(ended), ended


def children(pid: int) -> list[int]:
    """Return the processes that a process has started; none when it has ended."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pids: Iterable[int]) -> list[int]:
    """Return the processes that run; a zombie does not."""
    return [pid for pid in pids if _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def monotonic_usec() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
