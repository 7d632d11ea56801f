"""The command "run", as a process, beside a gateway, with programs that print what they get."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.setup.agents import LEAN_DENIED
from tests.support import KEY, Gateway
from tests.waiting import LONGEST_WAIT

ROOT = Path(__file__).parents[3]
AGENTS = ("claude", "codex", "opencode", "qwen")
PROGRAM = f"""\
#!{sys.executable}
import json, os, sys
told = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "pid": os.getpid()}}
print(json.dumps(told))
sys.exit(7)
"""


@dataclass
class AgentRun:
    """What the command, and the program that it became, have left."""

    status: int | None
    output: str
    errors: str
    pid: int

    @property
    def arguments(self) -> list[str]:
        arguments: list[str] = json.loads(self.output)["arguments"]
        return arguments

    @property
    def environment(self) -> dict[str, str]:
        environment: dict[str, str] = json.loads(self.output)["environment"]
        return environment


RunAgent = Callable[..., Awaitable[AgentRun]]


@pytest.fixture
def run(tmp_path: Path) -> RunAgent:
    """Run `run` with arguments, in an empty home; keyword arguments are further variables."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    for name in AGENTS:
        (programs / name).write_text(PROGRAM)
        (programs / name).chmod(0o755)

    async def run(*arguments: str, **variables: str) -> AgentRun:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "run", *arguments),
            cwd=home,
            env={
                "PATH": str(programs),
                "HOME": str(home),
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "FITTEN_GATEWAY_KEY": KEY,
                **variables,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(LONGEST_WAIT):
            output, errors = await process.communicate()
        assert os.listdir(home) == [], "no file of the user's is changed"
        return AgentRun(process.returncode, output.decode(), errors.decode(), process.pid)

    return run


async def window_of(gateway: Gateway, model: str = "fitten-code") -> int:
    async with gateway.http.get(f"{gateway.url}/v1/models/{model}") as response:
        window: int = (await response.json())["context_length"]
        return window


def text_of(file: Path) -> str:
    return file.read_text("utf-8")


@pytest.mark.parametrize("name", AGENTS)
async def test_the_program_takes_the_place_of_the_command(
    gateway: Gateway, run: RunAgent, name: str
) -> None:
    done = await run(name, "--url", gateway.url, "--", "-p", "Say --hello", "--", "--lean", "")
    assert done.status == 7
    assert json.loads(done.output)["pid"] == done.pid
    assert done.arguments[-5:] == ["-p", "Say --hello", "--", "--lean", ""]
    window = await window_of(gateway)
    assert (
        done.errors
        == f"{name} uses fitten-code at {gateway.url}, with a context of {window} tokens.\n"
    )


@pytest.mark.parametrize("name", AGENTS)
async def test_the_key_is_in_the_environment_and_never_in_an_option(
    gateway: Gateway, run: RunAgent, name: str
) -> None:
    done = await run(name, "--url", gateway.url)
    assert KEY not in "".join(done.arguments)
    assert KEY in done.environment.values()
    assert KEY not in done.errors


async def test_claude_code_gets_its_settings_twice(gateway: Gateway, run: RunAgent) -> None:
    done = await run("claude", "--url", gateway.url, ANTHROPIC_API_KEY="sk-other")
    option, text = done.arguments
    assert option == "--settings"
    settings = json.loads(text)
    assert settings["env"].items() <= done.environment.items()
    assert settings["env"]["ANTHROPIC_BASE_URL"] == gateway.url
    assert settings["env"]["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "fitten-code"
    assert settings["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(await window_of(gateway))
    assert done.environment["ANTHROPIC_AUTH_TOKEN"] == KEY
    assert "ANTHROPIC_API_KEY" not in done.environment
    assert settings.keys() == {"env"}


async def test_claude_code_reads_the_file_of_the_key_by_itself(
    gateway: Gateway, run: RunAgent, tmp_path: Path
) -> None:
    file = tmp_path / "the key"
    file.write_text(f"{KEY}\n")
    done = await run("claude", "--url", gateway.url, "--key-file", str(file), FITTEN_GATEWAY_KEY="")
    assert json.loads(done.arguments[1])["apiKeyHelper"] == f"cat '{file}'"
    assert KEY not in done.environment.values()


async def test_lean_takes_tools_away(gateway: Gateway, run: RunAgent) -> None:
    done = await run("claude", "--lean", "--url", gateway.url)
    assert json.loads(done.arguments[1])["permissions"] == {"deny": list(LEAN_DENIED)}
    done = await run("codex", "--url", gateway.url, "--lean")
    assert overrides(done.arguments)["web_search"] == "disabled"


def overrides(arguments: list[str]) -> dict[str, Any]:
    assert set(arguments[::2]) == {"-c"}
    return tomllib.loads("\n".join(arguments[1::2]))


async def test_codex_gets_overrides(gateway: Gateway, run: RunAgent) -> None:
    done = await run("codex", "--url", gateway.url, "--model", "DeepSeek V3")
    settings = overrides(done.arguments)
    window = await window_of(gateway, "DeepSeek V3")
    assert settings["model"] == "DeepSeek V3"
    assert settings["model_context_window"] == window
    assert settings["model_providers"]["fitten"] == {
        "name": "Fitten",
        "base_url": f"{gateway.url}/v1",
        "env_key": "FITTEN_GATEWAY_KEY",
        "wire_api": "responses",
    }
    assert done.environment["FITTEN_GATEWAY_KEY"] == KEY


async def test_opencode_gets_a_configuration_in_a_variable(gateway: Gateway, run: RunAgent) -> None:
    done = await run("opencode", "--url", gateway.url)
    settings = json.loads(done.environment["OPENCODE_CONFIG_CONTENT"])
    assert settings["model"] == "fitten/fitten-code"
    assert settings["provider"]["fitten"]["options"]["apiKey"] == "{env:FITTEN_GATEWAY_KEY}"
    assert done.environment["FITTEN_GATEWAY_KEY"] == KEY


async def test_qwen_code_gets_a_temporary_file_without_the_key(
    gateway: Gateway, run: RunAgent, tmp_path: Path
) -> None:
    done = await run("qwen", "--url", gateway.url, TMPDIR=str(tmp_path))
    file = Path(done.environment["QWEN_CODE_SYSTEM_SETTINGS_PATH"])
    assert file.parent.parent == tmp_path
    assert file.parent.stat().st_mode & 0o777 == 0o700
    text = text_of(file)
    (model,) = json.loads(text)["modelProviders"]["openai"]
    assert (model["id"], model["baseUrl"]) == ("fitten-code", f"{gateway.url}/v1")
    assert model["generationConfig"]["contextWindowSize"] == await window_of(gateway)
    assert done.environment[model["envKey"]] == KEY
    assert KEY not in text
    again = await run("qwen", "--url", gateway.url, TMPDIR=str(tmp_path))
    assert again.environment["QWEN_CODE_SYSTEM_SETTINGS_PATH"] == str(file)
    assert os.listdir(file.parent) == [file.name]


async def test_a_temporary_folder_that_others_may_write_is_not_used(
    gateway: Gateway, run: RunAgent, tmp_path: Path
) -> None:
    folder = tmp_path / f"fitten-gateway-{os.getuid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    done = await run("qwen", "--url", gateway.url, TMPDIR=str(tmp_path))
    file = Path(done.environment["QWEN_CODE_SYSTEM_SETTINGS_PATH"])
    assert file.parent != folder
    assert os.listdir(folder) == []


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    gateway: Gateway, run: RunAgent
) -> None:
    done = await run(
        *("codex", "--url", gateway.url),
        http_proxy="http://127.0.0.1:9",
        NO_PROXY="intranet.example.org",
    )
    assert done.status == 7
    assert done.environment["NO_PROXY"] == "intranet.example.org,127.0.0.1"
    assert done.environment["no_proxy"] == "127.0.0.1"


async def test_a_gateway_without_keys_needs_none(
    start_gateway: Callable[..., Awaitable[Gateway]], run: RunAgent
) -> None:
    gateway = await start_gateway(middlewares=["request_id"])
    done = await run("codex", "--url", gateway.url, FITTEN_GATEWAY_KEY="")
    assert done.environment["FITTEN_GATEWAY_KEY"] == "none"


async def test_what_is_wrong_is_said_before_the_program_starts(
    gateway: Gateway, run: RunAgent
) -> None:
    cases: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
        ((), {"FITTEN_GATEWAY_KEY": ""}, 1, "run: There is no key. Set FITTEN_GATEWAY_KEY, or"),
        ((), {"FITTEN_GATEWAY_KEY": "wrong"}, 1, "does not know the key. Check FITTEN_GATEWAY_KEY"),
        (("--model", "unknown-9"), {}, 1, "'unknown-9' does not exist. Models: fitten-code,"),
        (("--url", "http://127.0.0.1:9"), {}, 1, "No gateway answers at http://127.0.0.1:9: Con"),
        (("--model", "claude-opus-5"), {}, 2, "run: --model: Claude Code does not use the window"),
        (("--key-file", "/nothing"), {}, 2, "run: --key-file: /nothing cannot be read"),
        ((), {"PATH": "/nowhere"}, 2, "there is no program codex; install it: npm install -g @op"),
    ]
    for options, variables, status, said in cases:
        done = await run("codex", "--url", gateway.url, *options, **variables)
        assert (done.status, done.output) == (status, ""), said
        assert said in done.errors
        assert "Traceback" not in done.errors


async def test_another_server_is_recognised(run: RunAgent) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nHello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done = await run("codex", "--url", url)
    assert done.status == 1
    assert f"What answers at {url} is no fitten-gateway (status 200)." in done.errors


async def test_lean_is_refused_where_there_is_nothing_to_leave_out(run: RunAgent) -> None:
    done = await run("opencode", "--lean", "--url", "http://127.0.0.1:9")
    assert (done.status, done.output) == (2, "")
    assert done.errors == "run: --lean: there is nothing to leave out of opencode\n"
