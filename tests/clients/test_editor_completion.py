"""Each editor's request at the cursor, as its source sends it, gets text to insert."""

from __future__ import annotations

import json

import pytest

from tests.clients import emulated, sending
from tests.clients.readers import data_frames
from tests.support import Gateway


@pytest.mark.parametrize("name", ["proxyai_completion", "zed_completion"])
async def test_a_whole_completion_has_an_id_and_a_text(gateway: Gateway, name: str) -> None:
    answer = await sending.send(gateway, name, emulated.COMPLETION)
    assert answer.status == 200, answer.body
    completion = json.loads(answer.body)
    assert isinstance(completion["id"], str)
    assert completion["choices"][0]["text"] == emulated.COMPLETED


@pytest.mark.parametrize("name", ["continue_completion", "twinny_completion"])
async def test_a_streamed_completion_comes_as_text(gateway: Gateway, name: str) -> None:
    answer = await sending.send(gateway, name, emulated.COMPLETION)
    assert answer.status == 200, answer.body
    choices = [choice for frame in data_frames(answer.body) for choice in frame["choices"][:1]]
    assert "".join(choice["text"] for choice in choices) == emulated.COMPLETED


async def test_continue_finds_one_choice_in_every_chunk_of_fim(gateway: Gateway) -> None:
    answer = await sending.send(gateway, "continue_fim_completion", emulated.COMPLETION)
    assert answer.status == 200, answer.body
    deltas = [frame["choices"][0]["delta"] for frame in data_frames(answer.body)]
    assert "".join(delta.get("content") or "" for delta in deltas) == emulated.COMPLETED


async def test_llama_vscode_gets_content(gateway: Gateway) -> None:
    answer = await sending.send(gateway, "llama_vscode_infill_completion", emulated.COMPLETION)
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["content"] == emulated.COMPLETED


async def test_a_warm_up_of_llama_vscode_is_answered_empty(gateway: Gateway) -> None:
    answer = await sending.send(gateway, "llama_vscode_warm_up_completion")
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["content"] == ""


async def test_an_edit_of_llama_vscode_sets_no_limit_with_minus_one(gateway: Gateway) -> None:
    answer = await sending.send(gateway, "llama_vscode_edit", emulated.CHAT)
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == emulated.SAID
