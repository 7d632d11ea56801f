"""Runs the gateway and the emulator as processes: starts, signals and measures them (/proc)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from chaos.load import KEY
from chaos.middleware import HEADER, HOLDS
from chaos.records import ledger

ROOT = Path(__file__).parent.parent
_STATE = "fitten.json"
_LONGEST_WAIT = 60.0  # seconds, for what must happen
_PASSWORD = "correct horse"
ACCOUNTS = ("first_user", "second_user", "third_user")


# With accounts that never pause, for which the faults of one request affect no other.
NO_PAUSES: Mapping[str, Any] = {
    "max_concurrent": 200,
    "max_completions": 50,
    "retry_ratio": 1,
    "breaker_failures": 0,
}


# Limits that are never reached: what they count is compared with the ledger.
_COUNTED: Mapping[str, int] = {"requests_per_month": 10**9, "tokens_per_month": 10**12}


class ProcessFailed(Exception):
    """Reports that the run cannot go on; the text says why."""


@dataclass(frozen=True)
class RestartWindow:
    """Describes a time in which the gateway was restarted or killed, or idle connections ended.

    begin, end: monotonic seconds. pid: of the process to which it happened. grace: seconds that
    open requests have to end.
    """

    kind: str
    begin: float
    end: float
    pid: int = 0
    grace: float = 0.0


@dataclass(frozen=True)
class Measures:
    """Holds what an idle process has: descriptors, tasks by name, resident bytes.

    slots: slots of all accounts in use. queued: requests in the queue. accounts: the state of each.
    """

    descriptors: int
    tasks: dict[str, int]
    memory: int
    slots: int
    queued: int
    accounts: dict[str, str]


class EmulatorProcess:
    """Runs the emulator; an async context manager."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._log = folder / "emulator.log"
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> EmulatorProcess:
        accounts = [f"--account={name}:{_PASSWORD}" for name in ACCOUNTS]
        command = ("emulator", "--port", str(self.port), "--pace", "0.01", *accounts)
        self._process = await _start(command, self._log)
        await _answers(self._process, f"http://127.0.0.1:{self.port}/_emulator/health", self._log)
        return self

    async def __aexit__(self, *_: object) -> None:
        await _end(self._process)

    async def calls(self) -> list[dict[str, Any]]:
        """Return the calls that the emulator recorded."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.port}/_emulator/calls") as response,
        ):
            found: list[dict[str, Any]] = await response.json()
            return found


class ChaosGateway:
    """Runs the gateway, restarted on the same port; an async context manager.

    pool: settings of `fitten.pool`. windows: when it was away or about to stop. statuses: of its
    exits after SIGTERM.
    """

    def __init__(
        self,
        folder: Path,
        upstream: int,
        *,
        drain_timeout: float = 4.0,
        pool: Mapping[str, Any] = NO_PAUSES,
    ) -> None:
        self.port = free_port()
        self._pool = pool
        self._folder = folder
        self._upstream = upstream
        self._drain_timeout = drain_timeout
        self._number = 0
        self._process: asyncio.subprocess.Process
        self.windows: list[RestartWindow] = []
        self.statuses: list[int] = []

    async def __aenter__(self) -> ChaosGateway:
        holds = Path(f"{self.journal}{HOLDS}")
        for left in (self.journal, holds, self._folder / _STATE):  # by another run in this folder
            left.unlink(missing_ok=True)
        ledger.remove(self.database)
        path = self._folder / "config.yaml"
        path.write_text(yaml.safe_dump(self._config()), "utf-8")
        await self._run()
        return self

    async def __aexit__(self, *_: object) -> None:
        await _end(self._process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def journal(self) -> Path:
        """Return the path of the journal that `chaos.middleware` writes."""
        return self._folder / "journal"

    @property
    def database(self) -> Path:
        """Return the path of the ledger."""
        return self._folder / "team.db"

    @property
    def logs(self) -> list[Path]:
        """Return the log of each process, the first one's first."""
        return [self._log(number) for number in range(1, self._number + 1)]

    @property
    def reloads(self) -> bool:
        """Return whether the process handles SIGHUP (proc(5), SigCgt)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGHUP - 1) & 1)

    async def reload(self) -> None:
        """Make it read its configuration again. Raises ProcessFailed when it does not."""
        before = self._reloaded()
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + _LONGEST_WAIT
        while self._reloaded() == before:
            self.check()
            if time.monotonic() > deadline:
                raise ProcessFailed("the gateway does not reload on SIGHUP")
            await asyncio.sleep(0.1)

    def _reloaded(self) -> int:
        return self._log(self._number).read_bytes().count(b'"event":"reloaded"')

    async def restart(self) -> None:
        """Send SIGTERM, wait for the end, start again."""
        await self._away("restart", signal.SIGTERM)

    async def kill(self) -> None:
        """Send SIGKILL, start again."""
        await self._away("kill", signal.SIGKILL)

    async def stop(self) -> None:
        """Send SIGTERM for the last time."""
        self._process.send_signal(signal.SIGTERM)
        self.statuses.append(await self._exit_status())

    async def measure(self) -> Measures:
        """Return what it holds, once that has stopped changing."""
        seen, before = self._descriptors(), -1
        for _ in range(10):
            if seen == before:
                break
            await asyncio.sleep(0.4)
            seen, before = self._descriptors(), seen
        held = await self.held()
        return Measures(seen, memory=self.memory(), **held)

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def check(self) -> None:
        """Raise ProcessFailed when it has ended by itself."""
        if self._process.returncode is not None:
            raise ProcessFailed(f"the gateway ended with status {self._process.returncode}")

    async def _away(self, kind: str, number: int) -> None:
        self.check()
        begin, pid = time.monotonic(), self.pid
        self._process.send_signal(number)
        status = await self._exit_status()
        if number == signal.SIGTERM:
            self.statuses.append(status)
        await self._run()
        grace = self._drain_timeout if number == signal.SIGTERM else 0.0
        self.windows.append(RestartWindow(kind, begin, time.monotonic(), pid, grace))

    async def _exit_status(self) -> int:
        try:
            return await asyncio.wait_for(self._process.wait(), self._drain_timeout + _LONGEST_WAIT)
        except TimeoutError:
            raise ProcessFailed("the gateway does not end on SIGTERM") from None

    async def _run(self) -> None:
        self._number += 1
        log = self._log(self._number)
        command = ("gateway", "serve", "--config", str(self._folder / "config.yaml"))
        self._process = await _start(command, log)
        await _answers(self._process, f"http://127.0.0.1:{self.port}/ready", log)

    def _log(self, number: int) -> Path:
        return self._folder / f"gateway-{number}.log"

    def _descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    async def held(self) -> dict[str, Any]:
        """Return what `chaos.middleware` reports."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.port}/v1/models", headers={HEADER: "1"}) as response,
        ):
            found: dict[str, Any] = await response.json()
            return found

    async def counters(self) -> dict[str, int]:
        """Return what the limits of the key have counted, by the name of the limit."""
        headers = {"Authorization": f"Bearer {KEY}"}
        url = f"http://127.0.0.1:{self.port}/v1/usage"
        async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
            limits = (await response.json())["limits"]
        return {limit["limit"]: limit["used"] for limit in limits if limit["limit"] in _COUNTED}

    def _config(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._upstream}"
        return {
            "server": {"port": self.port, "drain_timeout": self._drain_timeout},
            "stream": {"grace": 0.5, "keep_alive": 0.5},
            "fitten": {
                "base_url": url,
                "models_url": url,
                "accounts": [{"username": name, "password": _PASSWORD} for name in ACCOUNTS],
                "pool": dict(self._pool),
                "state_file": str(self._folder / _STATE),
                "timeouts": {"connect": 2, "call": 3, "first_piece": 4, "between_pieces": 2},
                "completion": {"timeout": 4},
            },
            "log": {"format": "json"},
            "middlewares": [
                {"chaos.middleware:Inside": {"journal": str(self.journal)}},
                "request_id",
                "request_log",
                {"api_key": {"keys": [{"name": "chaos", "key": KEY, **_COUNTED}]}},
                {
                    "rate_limit": {
                        "requests_per_minute": 100_000,
                        "completions_per_minute": 100_000,
                    }
                },
            ],
        }


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def _start(command: tuple[str, ...], log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, cwd=ROOT, stdout=output, stderr=output
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _answers(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    """Return when a GET is answered with 200. Raises ProcessFailed."""
    deadline = time.monotonic() + _LONGEST_WAIT
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < deadline and process.returncode is None:
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(0.02)
    raise ProcessFailed(f"{url} does not answer; see {log}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2000:]


def log_lines(files: list[Path]) -> list[dict[str, Any]]:
    """Return the JSON lines of all processes; other lines have the event `not json`."""
    lines: list[dict[str, Any]] = []
    for number, file in enumerate(files, 1):
        for raw in file.read_bytes().splitlines():
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"event": "not json", "text": raw.decode("utf-8", "replace")}
            lines.append({**line, "process": number})
    return lines
