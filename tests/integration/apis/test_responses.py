"""OpenAI's Responses API through the gateway: what the model sees, and what clients get."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from emulator.prompt import parse_prompt
from tests.conftest import StartGateway
from tests.images import png
from tests.integration.peer import upstream_call
from tests.integration.scripted_fitten import PAUSE, ScriptedFitten, running_fitten
from tests.support import KEY, Gateway, running_gateway
from tests.waiting import eventually

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
RUN = {"type": "function", "name": "run", "strict": False, "parameters": TEXT}
SPACE = {
    "type": "namespace",
    "name": "team_v1",
    "description": "Starts helpers.",
    "tools": [{"type": "function", "name": "start", "strict": False, "parameters": TEXT}],
}
PATCH = {
    "type": "custom",
    "name": "patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}
NOTHING = "[[truncate framing=chunked how=fin after=0]]"
WEB = {"type": "web_search", "external_web_access": False}
DIFF = '*** Begin\n+print("a\\n")\n*** End'


@asynccontextmanager
async def running(
    folder: Path, *answers: Sequence[Any], **sections: Any
) -> AsyncIterator[tuple[ScriptedFitten, Gateway]]:
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, folder, **sections) as gateway,
    ):
        fitten.answers += answers
        yield fitten, gateway


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def parsed(raw: str) -> list[dict[str, Any]]:
    events = []
    for block in raw.split("\n\n")[:-1]:
        kind, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert kind == f"event: {events[-1]['type']}"
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    return events


async def ask(gateway: Gateway, *, stream: bool, **body: Any) -> tuple[dict[str, Any], list[Any]]:
    """The response, and the items that came in events of their own."""
    async with gateway.http.post(
        f"{gateway.url}/v1/responses", json={"input": "hi", **body, "stream": stream}
    ) as response:
        raw = await response.text()
        assert response.status == 200, raw
    if not stream:
        answer = json.loads(raw)
        return answer, answer["output"]
    events = parsed(raw)
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    return events[-1]["response"], items


async def refused(gateway: Gateway, **body: Any) -> tuple[int, dict[str, Any], Any]:
    async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as response:
        answer = await response.json()
        return response.status, answer["error"], response.headers


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both
async def test_a_text_is_answered(tmp_path: Path, stream: bool) -> None:
    async with running(tmp_path, ["Hel", "lo"]) as (fitten, gateway):
        answer, items = await ask(
            gateway, stream=stream, instructions="Be short.", model="fitten-code"
        )
        blocks = parse_prompt(fitten.prompts[-1]).blocks
    assert [(block.role, block.text) for block in blocks[:2]] == [
        ("system", "Be short."),
        ("user", "hi"),
    ]
    assert answer["output"] == items
    (item,) = items
    assert item["content"][0]["text"] == "Hello"
    assert (answer["status"], answer["model"]) == ("completed", "fitten-code")
    usage = answer["usage"]
    assert usage["output_tokens"] == 7
    assert usage["total_tokens"] == usage["input_tokens"] + 7


@both
async def test_calls_go_round(tmp_path: Path, stream: bool) -> None:
    """A function of a namespace, a custom tool, and both results."""
    said = [
        "I start.\n<call-%V% start>\n{}\n<arg text>\nsay a\n</arg-%V%>\n</call-%V%>\n",
        f"<call-%V% patch>\n{{}}\n<arg input>\n{DIFF}\n</arg-%V%>\n</call-%V%>",
    ]
    tools = [RUN, SPACE, PATCH, WEB]
    async with running(tmp_path, said, ["Done."]) as (fitten, gateway):
        _, items = await ask(gateway, stream=stream, tools=tools)
        text, start, patch = items
        assert text["content"][0]["text"] == "I start.\n"
        assert (start["type"], start["name"], start["namespace"]) == (
            "function_call",
            "start",
            "team_v1",
        )
        assert json.loads(start["arguments"]) == {"text": "say a"}
        assert (patch["type"], patch["name"]) == ("custom_tool_call", "patch")
        assert patch["input"] == DIFF
        system = parse_prompt(fitten.prompts[-1]).blocks[0].text
        assert "team_v1: Starts helpers." in system
        assert "not available in this conversation: web_search." in system
        assert "grammar (lark)" in system
        results = [
            {
                "type": "function_call_output",
                "call_id": start["call_id"],
                "output": [{"type": "input_text", "text": "helper a"}],
            },
            {"type": "custom_tool_call_output", "call_id": patch["call_id"], "output": "ok"},
        ]
        _, items = await ask(
            gateway, stream=stream, tools=tools, input=[user("hi"), *items, *results]
        )
        assert items[0]["content"][0]["text"] == "Done."
        value = fitten.value
        blocks = parse_prompt(fitten.prompts[-1]).blocks
        assert f"<call-{value} start>" in blocks[2].text
        assert f"<arg input>\n{DIFF}\n</arg-{value}>" in blocks[2].text
        assert f"<result-{value} start {start['call_id']} ok>\nhelper a\n" in blocks[3].text
        assert f"<result-{value} patch {patch['call_id']} ok>\nok\n" in blocks[3].text


FORMS = {
    "bare": f"{DIFF}\n",
    "json": json.dumps({"patch": DIFF}) + "\n",
    "fence": f"<arg input>\n```diff\n{DIFF}\n```\n</arg-%V%>\n",
    "empty": f"{{}}\n{DIFF}\n",
}


@both
@pytest.mark.parametrize("form", FORMS)
async def test_a_custom_tool_gets_its_text_in_every_form(
    tmp_path: Path, stream: bool, form: str
) -> None:
    said = f"<call-%V% patch>\n{FORMS[form]}</call-%V%>\n"
    async with running(tmp_path, [said]) as (_, gateway):
        _, (patch,) = await ask(gateway, stream=stream, tools=[RUN, PATCH])
    assert patch["input"].removesuffix("\n") == DIFF


@pytest.mark.parametrize("name", ["team_v1.start", "team_v1__start", "start"])
async def test_a_namespace_before_a_name_is_understood(tmp_path: Path, name: str) -> None:
    said = f'<call-%V% {name}>\n{{"text": "a"}}\n</call-%V%>'
    async with running(tmp_path, [said]) as (_, gateway):
        _, (call,) = await ask(gateway, stream=True, tools=[RUN, SPACE])
    assert (call["name"], call["namespace"]) == ("start", "team_v1")


async def test_images_of_results_are_seen(gateway: Gateway, emulator: Emulator) -> None:
    pixel = base64.b64encode(png()).decode()
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{pixel}"}
    items = [
        user("look"),
        {"type": "function_call", "name": "run", "call_id": "c", "arguments": '{"text": "a"}'},
        {"type": "function_call_output", "call_id": "c", "output": [image]},
    ]
    await ask(gateway, stream=False, input=items)
    call = await upstream_call(emulator)
    assert pixel in json.dumps(call.body)
    assert "\n(an image)\n" in call.body["inputs"]


@both
async def test_thoughts_are_a_summary_if_they_are_wanted(gateway: Gateway, stream: bool) -> None:
    _, items = await ask(gateway, stream=stream, input="[[reasoning]]")
    assert [item["type"] for item in items] == ["message"]
    _, items = await ask(
        gateway, stream=stream, input="[[reasoning]]", reasoning={"summary": "auto"}
    )
    assert [item["type"] for item in items] == ["reasoning", "message"]
    assert items[0]["summary"][0]["text"]


@both
async def test_a_schema_shapes_the_answer(tmp_path: Path, stream: bool) -> None:
    form = {"type": "json_schema", "name": "out", "strict": True, "schema": TEXT}
    async with running(tmp_path, ["```json\n", '{"text": "a"}', "\n```"]) as (_, gateway):
        _, (item,) = await ask(gateway, stream=stream, text={"format": form})
    assert json.loads(item["content"][0]["text"]) == {"text": "a"}


@both
async def test_an_answer_that_is_too_long_is_incomplete(gateway: Gateway, stream: bool) -> None:
    answer, items = await ask(gateway, stream=stream, input="[[count n=50]]", max_output_tokens=5)
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert items[0]["content"][0]["text"].startswith("w0 ")


@both
async def test_a_call_that_was_cut_is_not_delivered(tmp_path: Path, stream: bool) -> None:
    said = ["I run.\n<call-%V% run>\n<arg text>\n" + "word " * 40]
    async with running(tmp_path, said, said) as (_, gateway):
        answer, items = await ask(gateway, stream=stream, tools=[RUN], max_output_tokens=30)
    assert answer["status"] == "incomplete"
    assert [item["type"] for item in items] == ["message"]


async def test_an_error_before_the_first_event_is_a_status(gateway: Gateway) -> None:
    status, error, headers = await refused(
        gateway, input="[[truncate framing=chunked how=fin after=0]]", stream=True
    )
    assert (status, error["type"]) == (502, "server_error")
    assert headers["x-should-retry"] == "true"
    status, error, _ = await refused(gateway, input="hi", previous_response_id="resp_1")
    assert (status, error["code"]) == (400, "previous_response_not_found")
    status, error, _ = await refused(gateway, input=[{"type": "item_reference", "id": "x"}])
    assert (status, error["param"]) == (400, "input[0].type")


async def test_what_is_final_is_400_or_an_unknown_model(start_gateway: StartGateway) -> None:
    """Codex repeats everything else, also what cannot succeed."""
    gateway = await start_gateway(server={"max_body_bytes": 10_000})
    status, error, _ = await refused(gateway, input="x" * 20_000)
    assert (status, error["code"]) == (400, "request_too_large")
    url = f"{gateway.url}/v1/responses"
    async with gateway.http.post(url, data=b"{}") as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"]) == (400, "unsupported_media_type")
    status, error, _ = await refused(gateway, input="hi", model="no-such-thing")
    assert (status, error["code"]) == (404, "model_not_found")
    async with gateway.http.post(url, json={}, headers={"Authorization": "Bearer x"}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (
            401,
            "invalid_api_key",
        )


async def test_a_limit_says_when_to_try_again(start_gateway: StartGateway) -> None:
    key = {"api_key": {"keys": [{"name": "tester", "key": KEY}]}}
    limit = {"rate_limit": {"requests_per_minute": 1}}
    gateway = await start_gateway(middlewares=["request_id", key, limit])
    await ask(gateway, stream=False)
    status, error, headers = await refused(gateway, input="hi", stream=True)
    assert (status, error["code"]) == (429, "rate_limit_exceeded")
    assert int(headers["Retry-After"]) > 0


async def test_an_error_after_the_first_event_is_a_failed_response(gateway: Gateway) -> None:
    answer, items = await ask(gateway, stream=True, input="[[error_middle]]")
    assert items == []
    assert answer["status"] == "failed"
    assert answer["error"]["code"] == "server_error"
    assert "made up" not in answer["error"]["message"]


async def test_a_silent_upstream_is_bridged_by_events(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(stream={"grace": 0.05, "keep_alive": 0.05})
    body = {"input": "[[slow first=3600 gap=0 n=1]]", "stream": True}
    async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as response:
        raw = b""
        for _ in range(4):
            raw += await response.content.readuntil(b"event: response.in_progress\n")
        emulator.release()
        raw += await response.read()
    assert b": keep-alive" not in raw
    events = parsed(raw.decode())
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"


async def test_a_client_that_leaves_ends_the_call(gateway: Gateway, emulator: Emulator) -> None:
    body = {"input": "[[endless]]", "stream": True}
    async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as response:
        await response.content.readuntil(b"output_text.delta")
        call = await upstream_call(emulator)
    await eventually(call.closed.is_set)


async def test_a_call_is_streamed_while_it_comes(tmp_path: Path) -> None:
    said = ["<call-%V% patch>\n<arg input>\nfirst\n", PAUSE, "</arg-%V%>\n</call-%V%>\n"]
    async with running(tmp_path, said) as (fitten, gateway):
        body = {"input": "hi", "tools": [PATCH], "stream": True}
        async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as response:
            raw = await response.content.readuntil(b'"delta":"first"')
            fitten.go_on()
            raw += await response.read()
    assert parsed(raw.decode())[-1]["response"]["output"][0]["input"] == "first"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_nothing_is_stored(gateway: Gateway, method: str) -> None:
    url = f"{gateway.url}/v1/responses/resp_1"
    async with gateway.http.request(method, url) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (404, "response_not_found")
    assert "stores nothing" in answer["error"]["message"]
