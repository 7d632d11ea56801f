"""docs/clients.md: each snippet can be read, and each URL is one the gateway answers."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.fitten.prompt_limit import window
from gateway.generation import token_estimate
from tests.support import Gateway

HERE = "http://localhost:5000"
DOCUMENT = (Path(__file__).parents[2] / "docs/clients.md").read_text("utf-8")
PARTS = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)[1:]
GENERAL = ("The size of the context",)  # of no client in particular
SECTIONS = {
    part.partition("\n")[0]: part for part in PARTS if part.partition("\n")[0] not in GENERAL
}
PARSERS: dict[str, Callable[[str], Any]] = {
    "yaml": yaml.safe_load,
    "json": json.loads,
    "toml": tomllib.loads,
    "python": ast.parse,
    "shell": shlex.split,
}


def snippets(section: str) -> list[tuple[str, str]]:
    """The language and text of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)


def calls(section: str) -> list[str]:
    """The URLs that the section says are called."""
    return re.findall(r"^- `POST (\S+)`$", SECTIONS[section], re.MULTILINE)


def test_every_client_has_a_section() -> None:
    named = {"Cline", "Roo Code", "Continue", "ProxyAI", "Zed", "twinny", "llama.vscode", "Aider"}
    assert named | {"Codex", "Agents on the OpenAI SDK"} <= set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_snippet_can_be_read_by_its_language(section: str) -> None:
    assert snippets(section)
    for language, text in snippets(section):
        assert PARSERS[language](text)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_uses_the_one_address_key_and_model(section: str) -> None:
    assert "YOUR_KEY" in SECTIONS[section]
    for _, text in snippets(section):
        assert "fitten-code" in text
        assert not re.search(r"sk-|\.\.\.|<\w+>|your[-_]api", text)
    for url in re.findall(r"http://[^\s\"`,;)]+", SECTIONS[section]):
        assert re.match(rf"{HERE}(/|$)", url)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_url_in_a_snippet_is_the_beginning_of_one_that_is_called(section: str) -> None:
    for _, text in snippets(section):
        for url in re.findall(r"http://[^\s\"`,;)]+", text):
            assert any(call.startswith(url) for call in calls(section)), url


@pytest.mark.parametrize("section", SECTIONS)
async def test_the_gateway_answers_every_url_that_is_called(gateway: Gateway, section: str) -> None:
    assert calls(section)
    for url in calls(section):
        here = url.replace(HERE, gateway.url)
        async with gateway.http.post(here, json=["no object"]) as response:
            assert response.status == 400, url


def test_the_documented_size_of_the_context_is_that_of_the_list_of_models() -> None:
    tokens = window(token_estimate.BYTES_PER_TOKEN)
    numbers = re.findall(r"\b(?:70|63)\d{3}\b", DOCUMENT)
    assert len(numbers) > 8
    assert set(numbers) == {str(tokens), str(tokens * 9 // 10)}
