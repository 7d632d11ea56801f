"""A client that offers a tool gets a call that it can carry out."""

from __future__ import annotations

import json

import pytest

from tests.clients import emulated, sending, toolreaders
from tests.support import Gateway

READERS = {
    "cline_tools": toolreaders.openai_node,
    "openai_node_tools": toolreaders.openai_node,
    "roo_code_tools": toolreaders.roo_code,
}


@pytest.mark.parametrize("notation", emulated.TOOLS)
@pytest.mark.parametrize("name", READERS)
async def test_a_client_reads_the_streamed_call(gateway: Gateway, name: str, notation: str) -> None:
    answer = await sending.send(gateway, name, emulated.TOOLS[notation])
    assert answer.status == 200, answer.body
    [(tool, arguments)] = READERS[name](answer.body)
    assert tool == "read_file"
    assert isinstance(json.loads(arguments)["path"], str)


@pytest.mark.parametrize("notation", emulated.TOOLS)
async def test_llama_vscode_reads_the_whole_call(gateway: Gateway, notation: str) -> None:
    answer = await sending.send(gateway, "llama_vscode_tools", emulated.TOOLS[notation])
    assert answer.status == 200, answer.body
    choice = json.loads(answer.body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["id"]
    assert call["function"]["name"] == "read_file"
    assert isinstance(json.loads(call["function"]["arguments"])["path"], str)
