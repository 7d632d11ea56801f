"""Bodies that a client may send by mistake or on purpose: a 400 that names the field, or a 200."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.peer import CHAT, chat_body
from tests.support import Gateway

HEADERS = {"Content-Type": "application/json"}

VALID: dict[str, Any] = {
    "model": "fitten-code",
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "content": "r", "tool_call_id": "c"},
        {"role": "user", "content": "[[say]]"},
    ],
    "stream": False,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "stop": ["x"],
    "max_tokens": 9,
    "max_completion_tokens": 9,
    "n": 1,
    "user": "u",
    "metadata": {"k": "v"},
    "temperature": 0.5,
    "top_p": 0.5,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "seed": 1,
    "logprobs": False,
    "top_logprobs": 1,
    "logit_bias": {"1": 2},
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "reasoning_effort": "low",
    "store": False,
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value inside a JSON value is."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def named(path: tuple[Any, ...]) -> str:
    """The path as an error's `param` has it."""
    return "".join(f"[{key}]" if type(key) is int else f".{key}" for key in path).lstrip(".")


def replaced(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(VALID)
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return body


async def send(gateway: Gateway, raw: bytes) -> tuple[int, Any]:
    """Status and body; every refusal is checked for the shape of D2."""
    body = io.BytesIO(raw)  # a file, because aiohttp's client warns of large bytes
    async with gateway.http.post(gateway.url + CHAT, data=body, headers=HEADERS) as response:
        if response.content_type == "text/event-stream":
            return response.status, await response.read()
        answer = await response.json()
        if response.status != 200:
            unknown_model = answer["error"]["code"] == "model_not_found"
            assert response.status == (404 if unknown_model else 400), answer
            assert set(answer) == {"error"}
            assert set(answer["error"]) == {"message", "type", "param", "code"}
            assert answer["error"]["type"] == "invalid_request_error"
            assert answer["error"]["message"]
            assert len(answer["error"]["message"]) < 1000
            assert response.headers["x-should-retry"] == "false"
        return response.status, answer


async def works(gateway: Gateway) -> bool:
    return (await gateway.whole("[[say]]"))[0] == 200


async def test_the_valid_body_is_valid(gateway: Gateway) -> None:
    status, answer = await send(gateway, json.dumps(VALID).encode())
    assert status == 200, answer


@pytest.mark.parametrize(
    "bad", [None, 5, -1, 1.5, "x", "", [], {}, True, [[]], [{}], 10**30], ids=repr
)
async def test_a_wrong_type_anywhere_is_named_or_harmless(gateway: Gateway, bad: Any) -> None:
    for path in paths(VALID):
        status, answer = await send(gateway, json.dumps(replaced(path, bad)).encode())
        if status == 200:
            continue
        place, param = named(path), answer["error"]["param"]
        assert param, f"{place} = {bad!r}: no param in {answer}"
        assert param.startswith(place) or place.startswith(param), f"{place} = {bad!r}: {answer}"
    assert await works(gateway)


@pytest.mark.parametrize(
    ("path", "bad", "param"),
    [
        (("messages",), None, "messages"),
        (("messages",), [], "messages"),
        (("messages",), "x", "messages"),
        (("messages", 0), None, "messages[0]"),
        (("messages", 0, "role"), "nobody", "messages[0].role"),
        (("messages", 0, "role"), 5, "messages[0].role"),
        (("messages", 0, "content"), None, "messages[0].content"),
        (("messages", 0, "content"), 5, "messages[0].content"),
        (("messages", 0, "content"), {}, "messages[0].content"),
        (("messages", 1, "content", 0), 5, "messages[1].content[0]"),
        (("messages", 1, "content", 0, "type"), "input_audio", "messages[1].content[0].type"),
        (("messages", 1, "content", 0, "text"), 5, "messages[1].content[0].text"),
        (("model",), 5, "model"),
        (("stream",), "true", "stream"),
        (("stream_options",), True, "stream_options"),
        (("stream_options", "include_usage"), 1, "stream_options.include_usage"),
        (("stop",), 5, "stop"),
        (("stop", 0), 5, "stop[0]"),
        (("max_tokens",), 1.5, "max_tokens"),
        (("max_tokens",), "9", "max_tokens"),
        (("max_completion_tokens",), True, "max_completion_tokens"),
        (("n",), 2, "n"),
        (("n",), 1.5, "n"),
    ],
)
async def test_a_wrong_value_is_refused_with_its_path(
    gateway: Gateway, path: tuple[Any, ...], bad: Any, param: str
) -> None:
    status, answer = await send(gateway, json.dumps(replaced(path, bad)).encode())
    assert status == 400
    assert answer["error"]["param"] == param


@pytest.mark.parametrize(
    ("path", "param"),
    [
        (("messages",), "messages"),
        (("messages", 0, "role"), "messages[0].role"),
        (("messages", 0, "content"), "messages[0].content"),
        (("messages", 1, "content", 0, "type"), "messages[1].content[0].type"),
        (("messages", 1, "content", 0, "text"), "messages[1].content[0].text"),
    ],
)
async def test_a_missing_value_is_named(
    gateway: Gateway, path: tuple[Any, ...], param: str
) -> None:
    body = copy.deepcopy(VALID)
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    status, answer = await send(gateway, json.dumps(body).encode())
    assert status == 400
    assert answer["error"]["param"] == param


MESSAGES = b'"messages":[{"role":"user","content":"[[say]]"}]'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"5",
        b'"x"',
        b"[]",
        b"{",
        b"{}x",
        b"\x00",
        b"\xff\xfe{\x00}\x00",
        b"{" + MESSAGES + b",}",
        b"{" + MESSAGES + b'} {"a":1}',
        b"{" + MESSAGES + b',"temperature":NaN}',
        b"{" + MESSAGES + b',"temperature":Infinity}',
        b"{" + MESSAGES + b',"temperature":-Infinity}',
        b"{" + MESSAGES + b',"seed":1e999}',
        b"{" + MESSAGES + b',"seed":01}',
        b"{" + MESSAGES + b",'user':1}",
        b"{" + MESSAGES + b',"user":"\xff"}',
        b"{" + MESSAGES + b',"user":"\n"}',
        b"{" + MESSAGES + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"{" + MESSAGES + b',"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"{" + MESSAGES + b"," + MESSAGES + b"}",
        b"{" + MESSAGES + b',"model":"fitten-code","mod\\u0065l":"S1"}',
        b'{"messages":[{"role":"user","role":"system","content":"x"}]}',
        b"{" + MESSAGES + b',"a" : 1, "a"\n:2}',
        b"{" + MESSAGES + b',"metadata":{"a":{"b":1,"b":2}}}',
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf{" + MESSAGES + b"}",
        b"{" + MESSAGES + b"}\xef\xbb\xbf",
        b"messages=x&model=y",
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--",
    ],
    ids=lambda raw: repr(raw[:12] + raw[-30:]) if len(raw) > 42 else repr(raw),
)
async def test_a_body_that_is_not_strict_json_is_refused(gateway: Gateway, raw: bytes) -> None:
    status, answer = await send(gateway, raw)
    assert status == 400
    assert answer["error"]["code"] in ("invalid_json", None)
    assert await works(gateway)


async def test_a_member_given_twice_is_named(gateway: Gateway) -> None:
    raw = b'{"messages":[{"role":"user","content":"a","content":"b"}]}'
    _, answer = await send(gateway, raw)
    assert answer["error"]["param"] == "messages[0].content"


@pytest.mark.parametrize(
    "raw",
    [
        b"{" + MESSAGES + b',"x":1e-999}',
        b"{" + MESSAGES + b',"seed":' + b"9" * 18 + b"}",
        b"{" + MESSAGES + b',"x":' + b"9" * 4000 + b"}",
        b"{" + MESSAGES + b',"user":"\\ud83d\\ude00"}',
        b"{" + MESSAGES + b',"user":"\\":\\"a\\":"}',
        b"{" + MESSAGES + b',"a":1,"b":{"a":1},"c":[{"a":1}],"":2}',
        b" \r\n\t{" + MESSAGES + b"}\r\n",
        b"{" + MESSAGES + b',"x":' + b"[" * 50 + b"]" * 50 + b"}",
    ],
    ids=lambda raw: repr(raw[50:80]),
)
async def test_odd_but_strict_json_is_taken(gateway: Gateway, raw: bytes) -> None:
    status, answer = await send(gateway, raw)
    assert status == 200, answer


async def test_an_empty_text_is_taken(gateway: Gateway) -> None:
    for content in ("", [], [{"type": "text", "text": ""}]):
        body = {"messages": [{"role": "user", "content": content}]}
        status, answer = await send(gateway, json.dumps(body).encode())
        assert status == 200 or answer["error"]["param"].startswith("messages[0].content")


@pytest.mark.parametrize(
    "parameters",
    [
        {"model": "m" * 1_000_000},
        {"stop": "s" * 1_000_000},
        {"user": "u" * 1_000_000},
        {"x" * 1_000_000: 1},
        {"tool_choice": "x" * 1_000_000},
        {"metadata": {str(i): "v" for i in range(50_000)}},
        {f"parameter_{i}": 1 for i in range(50_000)},
        {"n": int("9" * 1000)},
        {"max_tokens": int("9" * 18)},
        {"stop": ["x"] * 100_000},
    ],
    ids=lambda p: next(iter(p))[:12] + f" {len(str(p))}",
)
async def test_megabytes_anywhere_are_answered(gateway: Gateway, parameters: Any) -> None:
    async with gateway.http.post(
        gateway.url + CHAT, data=io.BytesIO(chat_body("[[say]]", **parameters)), headers=HEADERS
    ) as response:
        assert response.status in (200, 400, 404)
        assert len(await response.read()) < 3000
        assert len(str(response.headers)) < 6000
    assert await works(gateway)


async def test_thousands_of_messages_are_answered(gateway: Gateway) -> None:
    messages = [{"role": "user", "content": "x"}] * 10_000
    status, _ = await send(gateway, json.dumps({"messages": messages}).encode())
    assert status == 200
    status, answer = await send(gateway, json.dumps({"messages": messages * 5}).encode())
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
EXAMPLES = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@EXAMPLES
@given(path=st.sampled_from(list(paths(VALID))), value=JSON_VALUES)
async def test_no_value_anywhere_breaks_the_gateway(
    gateway: Gateway, path: tuple[Any, ...], value: Any
) -> None:
    raw = json.dumps(replaced(path, value)).encode("utf-8", "surrogatepass")
    body = io.BytesIO(raw)
    async with gateway.http.post(gateway.url + CHAT, data=body, headers=HEADERS) as response:
        assert response.status in (200, 400, 404)
        if response.status != 200:
            assert (await response.json())["error"]["type"] == "invalid_request_error"


@EXAMPLES
@given(raw=st.binary(max_size=40) | st.text('{}[]":,\\u0dDe1 tnfE.-', max_size=30).map(str.encode))
async def test_no_bytes_break_the_gateway(gateway: Gateway, raw: bytes) -> None:
    status, _ = await send(gateway, raw)
    assert status == 400
