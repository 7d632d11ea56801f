"""docs/clients.md: it is generated, each snippet can be read, and each URL is answered."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.setup.clients import CLIENTS, snippets_for
from gateway.setup.snippet import Snippet
from tests.clients.document import HERE, PUBLIC_URL, REPLAYED, RUN, TARGET, document, target_for
from tests.support import KEY, Gateway
from tests.waiting import LONGEST_WAIT

PAGE = HERE.parents[1] / "docs" / "clients.md"
NAMES = list(CLIENTS)


def read_shell(text: str) -> Any:
    """The words of each command, by the shell's own parser."""
    subprocess.run(["sh", "-n", "-c", text], check=True, capture_output=True, timeout=30)
    return text


def read_typescript(text: str) -> Any:
    """The text, once its brackets and quotes are in pairs: these programs have no comments."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|`[^`]*`', '""', text)
    open_brackets: list[str] = []
    for sign in re.findall(r"[()\[\]{}]", bare):
        if sign in "([{":
            open_brackets.append(sign)
        else:
            assert open_brackets.pop() + sign in ("()", "[]", "{}")
    assert not open_brackets
    assert '"' not in bare.replace('""', "")
    assert all(line.endswith((";", "{", ",")) for line in bare.splitlines() if line)
    return text


def read_jsonc(text: str) -> Any:
    """JSON with comments on lines of their own."""
    assert re.search(r"(?m)^ *//", text)
    return json.loads(re.sub(r"(?m)^ *//.*$", "", text))


PARSERS: dict[str, Callable[[str], Any]] = {
    "json": json.loads,
    "jsonc": read_jsonc,
    "python": ast.parse,
    "shell": read_shell,
    "toml": tomllib.loads,
    "typescript": read_typescript,
    "yaml": yaml.safe_load,
}
ODD_MODEL = 'Deep"Seek V3 \\ $HOME 深'
ODD_KEY = "a\"b'c$d\\e#f"


def all_snippets(name: str) -> list[Snippet]:
    """What a client is shown, also with `--lean`, a file of the key, and odd names."""
    client = CLIENTS[name]
    odd = replace(TARGET, model=ODD_MODEL, key=ODD_KEY, key_file="/home/ada/a 'key'")
    return [
        snippet
        for target in (target_for(client), target_for(client, lean=True), odd)
        for snippet in snippets_for(client, target)
    ]


def test_the_page_is_what_the_command_prints() -> None:
    """`make clients-doc` writes the page again."""
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(document(), "utf-8")
    assert PAGE.read_text("utf-8") == document()


def test_every_client_that_was_promised_is_there() -> None:
    promised = """Claude Code, Codex, opencode, Cline, Roo Code, Kilo Code, Continue, Qwen Code,
    Zed, ProxyAI, JetBrains AI Assistant, VS Code's own models, twinny, llama.vscode, Aider, llm,
    Open WebUI, LibreChat, Cherry Studio, Chatbox, Cursor, LangChain, OpenAI's SDKs,
    Anthropic's SDKs, Ollama's clients"""
    named = {name.strip() for name in promised.split(",")}
    assert named == {client.title for client in CLIENTS.values()}


@pytest.mark.parametrize("name", NAMES)
def test_a_snippet_can_be_read_by_its_format(name: str) -> None:
    assert all_snippets(name)
    for snippet in all_snippets(name):
        assert PARSERS[snippet.language](snippet.text)
        assert snippet.text.endswith("\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_snippets_have_the_address_the_model_and_how_to_find_the_key(name: str) -> None:
    client = CLIENTS[name]
    texts = "".join(snippet.text for snippet in client.snippets(target_for(client)))
    assert "fitten-code" in texts or name in ("vscode", "ollama")
    assert "FITTEN_GATEWAY_KEY" in texts
    assert not re.search(r"sk-|\.\.\.|<\w+>|your[-_]api|claude-\w+-\d", texts)
    for url in re.findall(r"https?://[^\s\"`,;)]+", texts):
        if "opencode.ai" not in url:
            here = PUBLIC_URL if client.needs_public_url else TARGET.url
            assert url.startswith(here)
            assert any(f"{here}{path}".startswith(url) for path in client.calls) or "/k/" in url


@pytest.mark.parametrize("name", NAMES)
def test_a_key_is_only_shown_where_a_format_needs_it(name: str) -> None:
    client = CLIENTS[name]
    secret = replace(target_for(client), key="secret-key", key_file="/home/ada/key")
    without = "".join(s.text for s in snippets_for(client, target_for(client)))
    given = "".join(s.text for s in snippets_for(client, secret))
    assert ("secret-key" in given) == ("YOUR_KEY" in without)
    assert "YOUR_KEY" not in given
    assert "secret-key" in given or "/home/ada/key" in given


@pytest.mark.parametrize("name", NAMES)
async def test_the_gateway_answers_every_url_that_is_called(gateway: Gateway, name: str) -> None:
    assert CLIENTS[name].calls
    for path in CLIENTS[name].calls:
        async with gateway.http.post(f"{gateway.url}{path}", json=["no object"]) as response:
            assert response.status == 400, path


@pytest.mark.parametrize("name", ["openai-sdk", "anthropic-sdk"])
async def test_a_python_program_runs_as_it_is_printed(gateway: Gateway, name: str) -> None:
    target = replace(TARGET, url=gateway.url)
    (program,) = [s for s in CLIENTS[name].snippets(target) if s.language == "python"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program.text),
        env={**os.environ, "FITTEN_GATEWAY_KEY": KEY, "NO_PROXY": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LONGEST_WAIT):
        output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.decode().strip()


@pytest.mark.parametrize("name", RUN)
def test_a_client_that_is_run_has_tests(name: str) -> None:
    assert (HERE / RUN[name]).exists()
    assert name in CLIENTS


@pytest.mark.parametrize("name", REPLAYED)
def test_a_client_whose_requests_are_replayed_has_some(name: str) -> None:
    assert list((HERE / "requests").glob(f"{REPLAYED[name]}*.json"))
    assert name in CLIENTS


def test_every_recorded_request_is_of_a_client_of_the_page() -> None:
    begins = (*REPLAYED.values(), "aider_", "cline_", "codex_", "continue_", "openai_")
    recorded = [file.name for file in Path(HERE / "requests").glob("*.json")]
    assert [name for name in recorded if not name.startswith(begins)] == []
