"""Each client's chat request, as its source sends it, gets an answer that it can read."""

from __future__ import annotations

import json

import pytest

from tests.clients import emulated, readers, sending
from tests.support import Gateway

READERS = {
    "aider_chat": readers.first_choice,
    "cline_chat": readers.ai_sdk,
    "continue_chat": readers.first_choice,
    "openai_node_chat": readers.openai_node,
    "openai_python_chat": readers.first_choice,
    "proxyai_chat": readers.first_choice,
    "roo_code_chat": readers.roo_code,
    "roo_code_chat_reasoning_name": readers.roo_code,
    "twinny_chat": readers.first_choice,
    "zed_chat": readers.first_choice,
}
WHOLE = {"llama_vscode_chat"}


def test_every_chat_request_has_a_reader() -> None:
    assert set(sending.names("chat")) == {*READERS, *WHOLE}


@pytest.mark.parametrize("name", READERS)
async def test_a_client_reads_the_streamed_answer(gateway: Gateway, name: str) -> None:
    answer = await sending.send(gateway, name, emulated.CHAT)
    assert answer.status == 200, answer.body
    assert answer.media_type == "text/event-stream"
    assert READERS[name](answer.body) == emulated.SAID


@pytest.mark.parametrize("name", READERS)
async def test_a_client_shows_a_failure_in_the_middle(gateway: Gateway, name: str) -> None:
    answer = await sending.send(gateway, name, emulated.FAILING)
    with pytest.raises(readers.ClientError):
        READERS[name](answer.body)


@pytest.mark.parametrize("name", sorted(WHOLE))
async def test_a_client_reads_the_whole_answer(gateway: Gateway, name: str) -> None:
    answer = await sending.send(gateway, name, emulated.CHAT)
    assert answer.status == 200, answer.body
    message = json.loads(answer.body)["choices"][0]["message"]
    assert message["content"] == emulated.SAID
