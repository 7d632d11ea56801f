"""What systemd does for a service, as far as a test can: sockets, variables, datagrams."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# What only the child itself can know: its pid, and that descriptors begin with 3.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
_CREDENTIALS = struct.Struct("3i")


class GatewayService:
    """One run of the gateway. `datagrams` has what it told, `lines` what it logged."""

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

    async def exit_status(self, *, within: float) -> int:
        async with asyncio.timeout(within):
            await self._reading
            return await self.process.wait()

    async def event(self, name: str, *, within: float = 10.0) -> Any:
        """The first log line of that name."""
        async with asyncio.timeout(within):
            while True:
                for line in self.lines:
                    if line["event"] == name:
                        return line
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading
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

    async def told(self, beginning: str, *, since: int = 0, within: float = 15.0) -> str:
        """The first datagram, from number `since` on, that begins so."""
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
    ) -> GatewayService:
        """Start the gateway; with `wait`, until it has said that it is ready.

        prefix: a command that starts the one after it.
        """
        handed = sockets or self.listening
        usual = {n: v for n, v in os.environ.items() if not n.startswith("LISTEN_")}
        since = len(self.datagrams)
        with self.stdout.open("ab") as stdout:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-SEc", _START, str(handed.fileno())),
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
                pass_fds=[handed.fileno()],
            )
        service = GatewayService(process)
        self._services.append(service)
        if wait:
            ready = asyncio.create_task(self.told("READY=1", since=since))
            over = asyncio.create_task(process.wait())
            await asyncio.wait({ready, over}, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            assert ready.done(), service.raw
            await ready
        return service

    async def reload(self, service: GatewayService) -> str:
        """SIGHUP, and what the service says when it is done."""
        since = len(self.datagrams)
        service.signal(signal.SIGHUP)
        await self.told("RELOADING=1", since=since)
        return await self.told("READY=1", since=since)

    async def close(self) -> None:
        for service in self._services:
            await service.end()
        asyncio.get_running_loop().remove_reader(self.notify)
        self.notify.close()
        self.listening.close()


def monotonic_usec() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
