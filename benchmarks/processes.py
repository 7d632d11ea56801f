"""Starts the processes under measurement, reads their figures in /proc, always ends them."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parent.parent
_CPUCLOCK_SCHED = 2  # of the kernel's numbers for clocks: user and system time together


class BenchProcessFailed(Exception):
    """Reports that the benchmark cannot go on; the text says why."""


class BenchProcess:
    """Runs a child process; counts its own children too."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it and whatever it started."""
        family = self._family()
        self.popen.terminate()
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(5)
        for pid in family[1:]:
            # Its group is its own, so this can only be a child that outlived it.
            try:
                if os.getpgid(pid) == self.popen.pid:
                    os.kill(pid, 9)
            except ProcessLookupError:
                pass

    def check(self) -> None:
        """Raise BenchProcessFailed with the end of the output when it has ended."""
        if self.popen.poll() is not None:
            tail = self.log.read_text("utf-8", "replace")[-2000:]
            raise BenchProcessFailed(
                f"{self.name} ended with status {self.popen.returncode}:\n{tail}"
            )

    def cpu(self) -> float:
        """Return the processor time used until now, user and system, in seconds."""
        return sum(cpu_seconds(pid) + _ended_children(pid) for pid in self._family())

    def memory(self) -> float:
        """Return the resident memory in bytes, pages shared with others counted in part."""
        return sum(_pss(pid) for pid in self._family())

    def _family(self) -> list[int]:
        found = [self.popen.pid]
        for pid in found:
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except OSError:
                continue
            found.extend(int(child) for child in children.split())
        return found


class Processes:
    """Holds all children of this benchmark; leaving the context ends them, last started first."""

    def __init__(self) -> None:
        self._running: list[BenchProcess] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> BenchProcess:
        """Start a command; `folder` is its working directory."""
        process = BenchProcess(name, command, log, environ, folder)
        self._running.append(process)
        return process

    def stop(self, process: BenchProcess) -> None:
        self._running.remove(process)
        process.stop()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        while self._running:
            self._running.pop().stop()


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Pin what is started inside to one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_many_files() -> None:
    """Raise the limit on open descriptors as far as is allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Probe:
    """Asks GET for a path again and again, on a kept connection."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def ask(self) -> tuple[int, float]:
        """Return the status, and the seconds until the answer was there."""
        started = time.perf_counter()
        self._socket.sendall(self._request)
        answer = b""
        while not _complete(answer):
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("closed")
            answer += data
        return int(answer[9:12]), time.perf_counter() - started

    def close(self) -> None:
        self._socket.close()


def _complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(found) and len(body) >= (int(length[1]) if length else 0)


def wait_ready(process: BenchProcess, port: int, path: str, timeout: float = 30.0) -> None:
    """Return when a GET is answered with 200. Raises BenchProcessFailed."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        process.check()
        try:
            probe = Probe(port, path)
            try:
                if probe.ask()[0] == 200:
                    return
            finally:
                probe.close()
        except (OSError, ValueError):
            pass
        time.sleep(0.004)
    raise BenchProcessFailed(f"{process.name} is not ready after {timeout:g} s; see {process.log}")


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, in steps of a nanosecond; 0 when it has ended.

    The clock is that of clock_getcpuclockid(3), which Python has no call for. Unlike
    /proc/PID/stat it does not count in steps of 10 ms, and unlike /proc/PID/task/*/schedstat
    it keeps the time of threads that have ended.
    """
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def _ended_children(pid: int) -> float:
    """Return the processor time of the children it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


def _pss(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return float(resident * os.sysconf("SC_PAGE_SIZE"))
