"""The command "setup", as a process, beside a gateway."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.setup.clients import CLIENTS
from tests.support import KEY, Gateway
from tests.waiting import LONGEST_WAIT

ROOT = Path(__file__).parents[3]


@dataclass
class SetupRun:
    """What the command has printed, and its exit status."""

    status: int | None
    output: str
    errors: str


RunSetup = Callable[..., Awaitable[SetupRun]]


@pytest.fixture
def setup(tmp_path: Path) -> RunSetup:
    """Run `setup` with arguments; keyword arguments are further variables."""

    async def run(*arguments: str, **variables: str) -> SetupRun:
        usual = {n: v for n, v in os.environ.items() if n != "FITTEN_GATEWAY_KEY"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "setup", *arguments),
            cwd=tmp_path,
            env={**usual, "PYTHONPATH": str(ROOT), **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(LONGEST_WAIT):
            output, errors = await process.communicate()
        return SetupRun(process.returncode, output.decode(), errors.decode())

    return run


async def test_without_a_name_all_clients_are_listed(setup: RunSetup) -> None:
    done = await setup()
    assert (done.status, done.errors) == (0, "")
    assert [line.split()[0] for line in done.output.splitlines()[2:]] == list(CLIENTS)
    assert json.loads((await setup("--json")).output)["codex"] == "Codex"


async def test_the_settings_have_the_window_that_the_gateway_tells(
    gateway: Gateway, setup: RunSetup
) -> None:
    async with gateway.http.get(f"{gateway.url}/v1/models/fitten-code") as response:
        window = (await response.json())["context_length"]
    done = await setup("codex", "--url", gateway.url, FITTEN_GATEWAY_KEY=KEY)
    assert done.status == 0
    place, _, text = done.output.partition("\n")
    assert place == "==> ~/.codex/config.toml <=="
    settings = tomllib.loads(text)
    assert settings["model_context_window"] == window
    assert settings["model_providers"]["fitten"]["base_url"] == f"{gateway.url}/v1"
    assert "estimate" not in done.errors
    assert KEY not in done.output + done.errors


async def test_another_model_has_its_own_window(gateway: Gateway, setup: RunSetup) -> None:
    done = await setup(
        *("opencode", "--url", gateway.url, "--model", "DeepSeek V3", "--json"),
        FITTEN_GATEWAY_KEY=KEY,
    )
    told = json.loads(done.output)
    assert (told["model"], told["url"]) == ("DeepSeek V3", gateway.url)
    assert told["window"] > 0
    (snippet,) = told["snippets"]
    models = json.loads(snippet["text"])["provider"]["fitten"]["models"]
    assert models["DeepSeek V3"]["limit"]["context"] == told["window"]


async def test_without_a_gateway_the_window_is_an_estimate_and_that_is_said(
    setup: RunSetup,
) -> None:
    done = await setup("codex", "--url", "http://127.0.0.1:9")
    assert done.status == 0
    assert tomllib.loads(done.output.partition("\n")[2])["model_context_window"] == 70_656
    assert "No gateway answers at http://127.0.0.1:9: Connection refused." in done.errors
    assert "70656 tokens, is an estimate" in done.errors


async def test_a_key_that_is_refused_is_said_and_the_settings_are_printed(
    gateway: Gateway, setup: RunSetup
) -> None:
    done = await setup("codex", "--url", gateway.url, FITTEN_GATEWAY_KEY="wrong")
    assert done.status == 0
    assert "does not know the key" in done.errors
    assert tomllib.loads(done.output.partition("\n")[2])


async def test_the_key_of_a_file_is_used_to_ask_and_shown_where_a_form_needs_it(
    gateway: Gateway, setup: RunSetup, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    done = await setup("cline", "--url", gateway.url, "--key-file", str(file))
    assert f"API Key: {KEY}\n" in done.output
    assert "estimate" not in done.errors
    done = await setup("codex", "--url", gateway.url, "--key-file", str(file))
    assert KEY not in done.output
    assert f'export FITTEN_GATEWAY_KEY="$(cat {file})"' in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("emacs",), "there is no client 'emacs'; known: claude-code, codex,"),
        (("cline", "--lean"), "--lean: there is nothing to leave out of Cline"),
        (("codex", "--model", "claude-sonnet-5"), "--model: Claude Code does not use the window"),
        (("codex", "--url", "here"), "--url: expected an address"),
        (("cursor",), "servers of Cursor send the requests and cannot reach http://localhost:5000"),
    ],
)
async def test_what_cannot_work_is_refused(
    setup: RunSetup, arguments: tuple[str, ...], said: str
) -> None:
    done = await setup(*arguments)
    assert (done.status, done.output) == (2, "")
    assert said in done.errors


async def test_the_address_is_that_of_the_configuration(setup: RunSetup, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server: {host: 0.0.0.0, port: 9}\n")
    done = await setup("codex")
    assert 'base_url = "http://localhost:9/v1"' in done.output
