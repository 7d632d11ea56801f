"""The order of a conversation, as the model gets it: system messages, an answer that is begun."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from emulator import Emulator
from tests.integration.peer import UPSTREAM_CHAT, upstream_call
from tests.support import Gateway, content, frames

TOOLS = [{"type": "function", "function": {"name": "clock"}}]
JSON_OBJECT = {"type": "json_object"}


def said(text: str) -> str:
    return f"[[say text={quote(text, safe='')}]]"


async def ask(gateway: Gateway, *messages: tuple[str, str], **parameters: Any) -> Any:
    body = {"messages": [{"role": r, "content": c} for r, c in messages], **parameters}
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        if parameters.get("stream"):
            return frames(await response.read())
        return await response.json(), response.headers


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize(
    "parameters",
    [{}, {"tools": TOOLS}, {"response_format": JSON_OBJECT},
     {"tools": TOOLS, "response_format": JSON_OBJECT}],
    ids=str,
)  # fmt: skip
async def test_a_system_message_in_mid_conversation_keeps_its_place(
    gateway: Gateway, emulator: Emulator, role: str, parameters: dict[str, Any]
) -> None:
    answer = said('{"a": 1}')
    await ask(
        gateway,
        (role, "Be kind."),
        ("user", "one"),
        ("assistant", "two"),
        (role, "The user is angry now."),
        ("user", answer),
        **parameters,
    )
    inputs = (await upstream_call(emulator)).body["inputs"]
    first, rest = inputs.split("\n<|end|>\n", 1)
    assert first.startswith("<|system|>\nBe kind.")
    assert ("# Tools" in first) == ("tools" in parameters)
    assert ("Answer with one JSON object" in first) == ("response_format" in parameters)
    rest = re.sub(r"\n\n\(Form of a call: [^\n]*", "", rest)  # stands in the last turn of the user
    assert rest == (
        "<|user|>\none\n<|end|>\n<|assistant|>\ntwo\n<|end|>\n"
        f"<|system|>\nThe user is angry now.\n<|end|>\n<|user|>\n{answer}\n<|end|>\n<|assistant|>"
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", ["Once upon", "Once upon ", "def f():\n    "])
async def test_an_answer_that_is_begun_is_continued(
    gateway: Gateway, emulator: Emulator, begun: str, stream: bool
) -> None:
    messages = [("user", said(" a time")), ("assistant", begun)]
    answer = await ask(gateway, *messages, stream=stream)
    text = content(answer) if stream else answer[0]["choices"][0]["message"]["content"]
    assert text == " a time"
    inputs = (await upstream_call(emulator)).body["inputs"]
    assert inputs.endswith(f"<|end|>\n<|assistant|>\n{begun}")


async def test_an_empty_last_message_of_an_assistant_is_no_turn(
    gateway: Gateway, emulator: Emulator
) -> None:
    await ask(gateway, ("user", said("hi")), ("assistant", ""))
    inputs = (await upstream_call(emulator)).body["inputs"]
    assert inputs.endswith(f"{said('hi')}\n<|end|>\n<|assistant|>")


async def test_json_that_is_begun_is_checked_with_its_beginning(
    gateway: Gateway, emulator: Emulator
) -> None:
    messages = [("user", said('"sky": "blue"}')), ("assistant", "{")]
    answer, headers = await ask(gateway, *messages, response_format=JSON_OBJECT)
    text = answer["choices"][0]["message"]["content"]
    assert json.loads("{" + text) == {"sky": "blue"}
    assert "x-fitten-response-format" not in headers
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 1


async def test_json_that_is_begun_may_be_written_anew(gateway: Gateway, emulator: Emulator) -> None:
    messages = [("user", said('{"sky": "blue"}')), ("assistant", "Here it is:")]
    answer, headers = await ask(gateway, *messages, response_format=JSON_OBJECT)
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"sky": "blue"}
    assert "x-fitten-response-format" not in headers
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 1
