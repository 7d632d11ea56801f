"""What goes wrong while canaries are about: tables of failures."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from tests.integration.canaries.gateway import head
from tests.integration.canaries.net import (
    API_KEY,
    ARGUMENT,
    CODE,
    IMAGE,
    IMAGE_URL,
    PASSWORD,
    PROMPT,
    SAID,
    USER_ID,
    WRONG_KEY,
)
from tests.integration.peer import CHAT

# Of the emulator's scenarios, those in which a chat fails.
FAILING_CHATS = [
    *(f"status code={code}" for code in (400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 504)),
    *(f"status code=500 body={body}" for body in ("json", "html", "empty")),
    "redirect",
    *(
        f"truncate framing={framing} how={how} at={at}"
        for framing in ("chunked", "length", "close")
        for how in ("reset", "fin")
        for at in ("middle", "line")
    ),
    "reset after=0",
    "reset after=3",
    "reset_before_headers",
    *("detail_200", "error_200", "error_middle", "html_200", "html_middle", "empty"),
    *("heartbeats_only", "silent", "no_headers", "dribble", "heartbeats_forever"),
    "slow first=0 gap=2",
]
FAILING_COMPLETIONS: list[dict[str, Any]] = [
    *({"status": code} for code in (400, 401, 403, 404, 422, 429, 500, 503)),
    {"error": CODE},
    {"error": f"token {USER_ID} {PASSWORD}"},
    {"raw": CODE},
    {"raw": json.dumps({"generated_text": {CODE: 1}})},
    {"delay": 2},
]

HOST = f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\n"
AUTH = f"Authorization: Bearer {API_KEY}\r\n"
BROKEN_HTTP = {
    **{
        f"{name} in the key": f"{HOST}Authorization: Bearer {API_KEY}{mark}{API_KEY}\r\n"
        "Content-Length: 0\r\n\r\n"
        for name, mark in {
            "NUL": "\0",
            "SOH": "\1",
            "VT": "\v",
            "ESC": "\x1b[2J",
            "DEL": "\x7f",
            "CR": "\rX: 1",
            "LF": "\nX",
            "a folded line": "\r\n ",
            "NEL": "\x85",
            "a quote": '"',
            "a smiley": "\U0001f600",
        }.items()
    },
    "control characters before a wrong key": f"{HOST}Authorization: \x01Bearer {WRONG_KEY}\r\n\r\n",
    "a wrong key in x-api-key": f"{HOST}x-api-key: {WRONG_KEY}\x02\r\n\r\n",
    "a cookie": f"{HOST}Cookie: key={API_KEY}\x00\r\n\r\n",
    "key without a name": f"{HOST}{API_KEY}\r\n\r\n",
    "key as a name": f"{HOST}{API_KEY} {API_KEY}: 1\r\n\r\n",
    "key in the method": f"{API_KEY} / HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "key in the version": f"GET / {API_KEY}\r\nHost: gateway\r\n\r\n",
    "key in the length": f"{HOST}Content-Length: {API_KEY}\r\n\r\n",
    "key in the coding": f"{HOST}Transfer-Encoding: {API_KEY}\r\n\r\n",
    "key in the host": f"POST {CHAT} HTTP/1.1\r\nHost: {API_KEY}@{API_KEY}\r\n\r\n",
    "two lengths": f"{HOST}{AUTH}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a huge header": f"{HOST}{AUTH}X: {API_KEY * 1000}\r\n\r\n",
    "too many headers": f"{HOST}{AUTH}" + "Y: 1\r\n" * 500 + "\r\n",
    "a broken chunk": f"{HOST}{AUTH}Transfer-Encoding: chunked\r\n\r\n{PROMPT}\r\n",
    "a later broken chunk": f"{HOST}{AUTH}Transfer-Encoding: chunked\r\n\r\n"
    f"1\r\n{{\r\n{PROMPT}\r\n",
    "another version": f"POST {CHAT} HTTP/2.0\r\nHost: gateway\r\n{AUTH}\r\n",
    "another expectation": f"{HOST}{AUTH}Expect: {API_KEY}\r\nContent-Length: 1\r\n\r\n",
    "key in a query": f"GET /v1/nowhere?key={API_KEY} HTTP/1.1\r\nHost: gateway\r\n{AUTH}\r\n",
    "key in a path": f"GET /v1/{API_KEY}/models HTTP/1.1\r\nHost: gateway\r\n{AUTH}\r\n",
    "prompt in a path": f"GET /v1/{quote(PROMPT)} HTTP/1.1\r\nHost: gateway\r\n{AUTH}\r\n",
    "prompt as a model": f"GET /v1/models/{quote(PROMPT)} HTTP/1.1\r\nHost: g\r\n{AUTH}\r\n",
    "key in another": f"GET /v1/models/none?key={API_KEY} HTTP/1.1\r\nHost: g\r\n{AUTH}\r\n",
    "a method that is not meant": f"DELETE {CHAT}?k={API_KEY} HTTP/1.1\r\nHost: g\r\n{AUTH}\r\n",
    "key as basic": f"{HOST}Authorization: Basic {API_KEY}\r\nContent-Length: 0\r\n\r\n",
    "a compressed body": f"{HOST}{AUTH}Content-Encoding: {API_KEY}\r\nContent-Length: 1\r\n\r\nx",
    "another charset": f"{HOST}{AUTH}Content-Type: application/json; charset={API_KEY}\r\n"
    "Content-Length: 1\r\n\r\nx",
    "another type": f"{HOST}{AUTH}Content-Type: {API_KEY}\r\nContent-Length: 1\r\n\r\nx",
    "key as an id": f"{HOST}{AUTH}X-Request-Id: {WRONG_KEY}\r\nContent-Length: 1\r\n\r\nx",
    "prompt as an id": f"{HOST}{AUTH}X-Request-Id: {PROMPT}\r\nContent-Length: 1\r\n\r\nx",
    "a body that is too long": f"{head()}Content-Length: 1000000\r\n\r\n{PROMPT}",
    "a body that stalls": f"{head()}Content-Length: 1000\r\n\r\n{PROMPT}",
}
WRONG_KEYS = {
    "a wrong key": WRONG_KEY,
    "a long key": API_KEY * 20,
    "another case": API_KEY.upper(),
    "a key that is short": "canary",
    "the password as a key": PASSWORD,
    "text behind the key": f"{API_KEY} {API_KEY}",
    "the prompt as a key": PROMPT,
}

MESSAGE = {"role": "user", "content": PROMPT}


def _asked(content: Any = PROMPT, **parameters: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **parameters}


def _with_image(url: Any) -> dict[str, Any]:
    return _asked([{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": url}])


def _tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "find", **function}}


def _called(**call: Any) -> dict[str, Any]:
    function = {"name": "find", "arguments": json.dumps({"for": ARGUMENT}), **call}
    said = {"id": "call_1", "type": "function", "function": function}
    answer = {"role": "assistant", "content": None, "tool_calls": [said]}
    return {"messages": [MESSAGE, answer, {"role": "tool", "content": [5, ARGUMENT]}]}


BAD_BODIES: dict[str, Any] = {
    "cut short": '{"messages":[{"role":"user","content":"' + PROMPT,
    "not JSON": PROMPT,
    "a string": json.dumps(PROMPT),
    "a list": [PROMPT],
    "a message as text": {"messages": PROMPT},
    "messages of text": {"messages": [PROMPT]},
    "text as a role": {"messages": [{"role": PROMPT, "content": PROMPT}]},
    "a key as a role": {"messages": [{"role": WRONG_KEY, "content": PROMPT}]},
    "content of an object": _asked({PROMPT: PROMPT}),
    "a part of numbers": _asked([5, PROMPT]),
    "an unknown part": _asked([{"type": PROMPT}]),
    "text for an image": _with_image({"url": PROMPT}),
    "a broken image": _with_image({"url": f"data:image/png;base64,{IMAGE}"}),
    "an image of another kind": _with_image(f"data:{IMAGE};base64,{IMAGE}"),
    "an image that is no base64": _with_image(f"data:image/png;base64,{IMAGE}%{IMAGE}"),
    "an image at an address": _with_image({"url": IMAGE_URL}),
    "an image in a file": _with_image({"url": IMAGE_URL.replace("https", "file")}),
    "an image's odd detail": _with_image({"url": IMAGE_URL, "detail": {IMAGE: IMAGE}}),
    "a tool's type": _asked(tools=[{"type": PROMPT}]),
    "a tool's name": _asked(tools=[_tool(name=PROMPT)]),
    "a tool twice": _asked(tools=[_tool(description=PROMPT), _tool()]),
    "a tool's parameters": _asked(tools=[_tool(parameters=ARGUMENT)]),
    "a tool's choice": _asked(tool_choice=PROMPT),
    "a tool's unknown choice": _asked(
        tools=[_tool()], tool_choice={"type": "function", "function": {"name": ARGUMENT}}
    ),
    "a call's arguments": _called(arguments={ARGUMENT: ARGUMENT}),
    "a call's name": _called(name=[ARGUMENT]),
    "a tool's result": _called(),
    "a format": _asked(response_format={"type": PROMPT}),
    "a format's name": _asked(
        response_format={"type": "json_schema", "json_schema": {"name": PROMPT, "schema": {}}}
    ),
    "a format's schema": _asked(
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": PROMPT}}
    ),
    "a number": _asked(max_tokens=PROMPT),
    "a model": _asked(model=PROMPT),
    "a key as a model": _asked(model=WRONG_KEY),
    "stop": _asked(stop=[f"{PROMPT} {i}" for i in range(200)]),
    "two choices": _asked(n=2),
    "no messages": {PROMPT: PROMPT},
    "twice": '{"messages":[],"messages":[{"role":"user","content":"' + PROMPT + '"}]}',
    "a prompt twice": "{" + 2 * f'{json.dumps(PROMPT)}:{{"a":1,"a":1}},' + '"messages":[]}',
    "half an escape": '{"messages":[{"role":"user","content":"' + PROMPT + '\\ud80"}]}',
    "too deep": '{"messages":' + f'[{{"{CODE}":' * 2000,
    "too long": _asked(PROMPT * 10_000),
}
BAD_COMPLETIONS = {
    ("/v1/completions", f"a wrong {name}"): {"prompt": CODE, name: {CODE: CODE}}
    for name in ("prompt", "suffix", "max_tokens", "n", "stream")
} | {
    ("/v1/completions", "two choices"): {"prompt": CODE, "n": 2},
    ("/v1/completions", "prompts of prompts"): {"prompt": [[CODE]]},
    ("/v1/fim/completions", "a wrong suffix"): {"prompt": CODE, "suffix": [CODE]},
    ("/infill", "a wrong prefix"): {"input_prefix": {CODE: 1}, "input_suffix": CODE},
}
# Chats with an answer other than the expected one: nothing of it may be in the log.
ODD_ANSWERS: dict[str, Any] = {
    "an answer": _asked(f"{PROMPT} [[say text={quote(SAID)}]]"),
    "an answer that is no JSON": _asked(
        f"{PROMPT} [[say text={quote(SAID)}]]", response_format={"type": "json_object"}
    ),
    "an answer that does not fit": _asked(
        f"{PROMPT} [[json_answer value={quote(json.dumps({SAID: SAID}))}]]",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {"required": ["b"], "title": PROMPT}},
        },
    ),
    "a call of a tool": _asked(
        f"{PROMPT} [[call tool=find arguments={quote(json.dumps({'for': ARGUMENT}))}]]",
        tools=[_tool(description=PROMPT)],
    ),
    "a call of a tool that is not there": _asked(
        f"{PROMPT} [[call tool=lose arguments={quote(json.dumps({'for': ARGUMENT}))}]]",
        tools=[_tool(description=PROMPT)],
    ),
    "parameters without effect": _asked(
        f"{PROMPT} [[say]]", **{"seed": 1, PROMPT: 1, WRONG_KEY: 1}
    ),
    "an answer cut by a stop string": _asked(f"{PROMPT} [[say text={quote(SAID)}]]", stop=[SAID]),
}
