"""No secret comes out: not in logs, answers, process lists or files, whatever goes wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from emulator import ACCOUNT_SCENARIOS, Account, Emulator
from gateway import config, server
from gateway.log import Redactor
from tests.front_door.canaries import (
    API_KEY,
    CODE,
    PASSWORD,
    PROMPT,
    USER_ID,
    USERNAME,
    WRONG_KEY,
    Net,
    everything_logged,
    net,
)
from tests.front_door.peer import CHAT, Answer, Peer

__all__ = ["net"]

ROOT = Path(__file__).parents[2]

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
HOST = "POST " + CHAT + " HTTP/1.1\r\nHost: gateway\r\n"
AUTH = f"Authorization: Bearer {API_KEY}\r\n"
BROKEN_HTTP = {
    "NUL in the key": f"{HOST}Authorization: Bearer {API_KEY}\x00\r\n\r\n",
    "CR in the key": f"{HOST}Authorization: Bearer {API_KEY}\rX: 1\r\n\r\n",
    "key without a name": f"{HOST}{API_KEY}\r\n\r\n",
    "key as a name": f"{HOST}{API_KEY} {API_KEY}: 1\r\n\r\n",
    "key in the method": f"{API_KEY} / HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "key in the version": f"GET / {API_KEY}\r\nHost: gateway\r\n\r\n",
    "key in the length": f"{HOST}Content-Length: {API_KEY}\r\n\r\n",
    "key in the coding": f"{HOST}Transfer-Encoding: {API_KEY}\r\n\r\n",
    "two lengths": f"{HOST}{AUTH}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a huge header": f"{HOST}{AUTH}X: {API_KEY * 1000}\r\n\r\n",
    "too many headers": f"{HOST}{AUTH}" + "Y: 1\r\n" * 500 + "\r\n",
    "a broken chunk": f"{HOST}{AUTH}Transfer-Encoding: chunked\r\n\r\n{PROMPT}\r\n",
    "a later broken chunk": f"{HOST}{AUTH}Transfer-Encoding: chunked\r\n\r\n"
    f"1\r\n{{\r\n{PROMPT}\r\n",
    "another version": f"POST {CHAT} HTTP/2.0\r\nHost: gateway\r\n{AUTH}\r\n",
    "another expectation": f"{HOST}{AUTH}Expect: {API_KEY}\r\nContent-Length: 1\r\n\r\n",
    "key in a query": f"GET /v1/nowhere?key={API_KEY} HTTP/1.1\r\nHost: gateway\r\n{AUTH}\r\n",
    "key in another": f"GET /v1/models/none?key={API_KEY} HTTP/1.1\r\nHost: g\r\n{AUTH}\r\n",
    "key as basic": f"{HOST}Authorization: Basic {API_KEY}\r\nContent-Length: 0\r\n\r\n",
    "a compressed body": f"{HOST}{AUTH}Content-Encoding: {API_KEY}\r\nContent-Length: 1\r\n\r\nx",
    "another charset": f"{HOST}{AUTH}Content-Type: application/json; charset={API_KEY}\r\n"
    "Content-Length: 1\r\n\r\nx",
}
MESSAGE = {"role": "user", "content": PROMPT}
BAD_BODIES: dict[str, Any] = {
    "cut short": '{"messages":[{"role":"user","content":"' + PROMPT,
    "not JSON": PROMPT,
    "a string": json.dumps(PROMPT),
    "a list": [PROMPT],
    "a message as text": {"messages": PROMPT},
    "messages of text": {"messages": [PROMPT]},
    "text as a role": {"messages": [{"role": PROMPT, "content": PROMPT}]},
    "content of an object": {"messages": [{"role": "user", "content": {PROMPT: PROMPT}}]},
    "a part of text": {"messages": [{"role": "user", "content": [PROMPT]}]},
    "an unknown part": {"messages": [{"role": "user", "content": [{"type": PROMPT}]}]},
    "a picture": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PROMPT}}]}
        ]
    },
    "a tool": {"messages": [MESSAGE], "tools": [{"type": PROMPT}]},
    "a tool's choice": {"messages": [MESSAGE], "tool_choice": PROMPT},
    "a format": {"messages": [MESSAGE], "response_format": {"type": PROMPT}},
    "a number": {"messages": [MESSAGE], "temperature": PROMPT},
    "two choices": {"messages": [MESSAGE], "n": 2},
    "twice": '{"messages":[],"messages":[{"role":"user","content":"' + PROMPT + '"}]}',
    "lone surrogate": '{"messages":[{"role":"user","content":"' + PROMPT + '\\ud800"}]}',
    "too long": {"messages": [{"role": "user", "content": PROMPT * 10_000}]},
}


@asynccontextmanager
async def watched_gateway(
    net: Net, place: str, folder: Path, *scenarios: str, **sections: Any
) -> AsyncIterator[tuple[str, Emulator]]:
    """The URL of a gateway whose every log line ends in the net, and its upstream."""
    account = Account(USERNAME, PASSWORD, USER_ID, scenarios=set(scenarios))
    redactor = Redactor([PASSWORD, API_KEY])
    async with Emulator(accounts=[account], slow=0.3) as emulator:
        settings = config.load(config_file(folder, emulator.url, **sections), {})
        with everything_logged(net, place, redactor):
            runner = await server.start(settings, on_secret=redactor.add)
            try:
                yield server.address(runner), emulator
            finally:
                await server.stop(runner, 1)


def config_file(folder: Path, fitten_url: str, **sections: Any) -> Path:
    data = {
        "server": {"port": 0, "body_timeout": 0.1, "max_body_bytes": 100_000},
        "stream": {"write_timeout": 0.3},
        "fitten": {
            "base_url": fitten_url,
            "models_url": fitten_url,
            "accounts": [{"username": USERNAME, "password": PASSWORD}],
            "state_file": str(folder / "fitten.json"),
            "timeouts": {"call": 0.2, "first_piece": 0.15, "between_pieces": 0.15},
            "completion": {"timeout": 0.2},
        },
        "middlewares": [
            "request_id",
            "request_log",
            {"api_key": {"keys": [{"name": "tester", "key": API_KEY}]}},
        ],
        **sections,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
    path.chmod(0o600)
    return path


async def post(url: str, path: str, body: Any, key: str = API_KEY) -> Answer:
    """One answer, on a connection of its own; cut short is what a failed stream may be."""
    raw = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return await exchange(url, head.encode("utf-8") + raw)


async def exchange(url: str, raw: bytes) -> Answer:
    peer = await Peer.connect(url)
    try:
        await peer.send(raw)
        return await peer.answer()
    finally:
        peer.close()


def shown(answer: Answer) -> list[str | bytes]:
    """What a failed answer says of the failure; the pieces before are the caller's own."""
    if answer.status >= 400:
        return [str(answer.headers), answer.body]
    return [f for f in answer.body.split(b"\n\n") if b'"error"' in f and b'"choices"' not in f]


def judge(net: Net, name: str, answer: Answer) -> None:
    told = shown(answer)
    assert told, f"{name} did not fail: {answer}"
    net.failed(name, *told)


def chat(text: str, stream: bool = False) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{PROMPT} {text}"}], "stream": stream}


async def test_no_secret_comes_out_of_chats_that_fail(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "chats", tmp_path) as (url, _):

        async def one(marker: str, stream: bool) -> None:
            async with gate:
                answer = await post(url, CHAT, chat(f"[[{marker}]]", stream))
            judge(net, f"{marker}, {stream=}", answer)

        assert (await post(url, CHAT, chat("[[say]]"))).status == 200
        gate = asyncio.Semaphore(16)
        async with asyncio.TaskGroup() as group:
            for marker, stream in itertools.product(FAILING_CHATS, (True, False)):
                group.create_task(one(marker, stream))
    assert len(net.failures) == 2 * len(FAILING_CHATS)
    assert len(net.failures) >= 60
    assert net.leaks() == []


@pytest.mark.parametrize("scenario", sorted(ACCOUNT_SCENARIOS))
async def test_no_secret_comes_out_of_accounts_in_trouble(
    net: Net, tmp_path: Path, scenario: str
) -> None:
    """The login may fail, or a later refresh; both with a caller that waits."""
    async with watched_gateway(net, scenario, tmp_path, scenario) as (url, emulator):
        answers = [await post(url, CHAT, chat("[[say]]", stream)) for stream in (True, False)]
        emulator.account(USERNAME).revoke_access()
        answers.append(await post(url, CHAT, chat("[[say]]")))
        emulator.account(USERNAME).revoke_refresh()
        emulator.account(USERNAME).revoke_access()
        answers.append(await post(url, CHAT, chat("[[say]]")))
        answers.append(await exchange(url, b"GET /ready HTTP/1.1\r\nHost: gateway\r\n\r\n"))
    for answer in answers:
        net.failed(scenario, *shown(answer))
    state = tmp_path / "fitten.json"
    if state.exists():
        assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert any(place.startswith("log") and text for place, text in net.catch)
    assert net.leaks() == []


async def test_no_secret_comes_out_of_completions_that_fail(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "completions", tmp_path) as (url, _):
        for wanted in FAILING_COMPLETIONS:
            words = " ".join(f"{k}={quote(str(v), safe='')}" for k, v in wanted.items())
            body = {"prompt": f"{CODE}\n[[complete {words}]]", "suffix": CODE}
            answer = await post(url, "/v1/completions", body)
            judge(net, f"completion {wanted}", answer)
        for field in ("prompt", "suffix", "max_tokens", "n", "stream"):
            answer = await post(url, "/v1/completions", {"prompt": CODE, field: {CODE: CODE}})
            judge(net, f"completion with a wrong {field}", answer)
    assert net.leaks() == []


async def test_no_secret_comes_out_of_broken_requests(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "requests", tmp_path) as (url, _):
        for name, raw in BROKEN_HTTP.items():
            judge(net, name, await exchange(url, raw.encode("utf-8")))
        for name, body in BAD_BODIES.items():
            judge(net, name, await post(url, CHAT, body))
        for name, key in {
            "a wrong key": WRONG_KEY,
            "a long key": API_KEY * 20,
            "another case": API_KEY.upper(),
            "a key that is short": "canary",
            "the password as a key": PASSWORD,
            "text behind the key": f"{API_KEY} {API_KEY}",
        }.items():
            judge(net, name, await post(url, CHAT, chat("[[say]]"), key))
    assert len(net.failures) == len(BROKEN_HTTP) + len(BAD_BODIES) + 6
    assert net.leaks() == []


async def test_no_secret_comes_out_when_callers_leave(net: Net, tmp_path: Path) -> None:
    async with watched_gateway(net, "callers", tmp_path) as (url, _):
        whole = chat_bytes(chat("[[endless]]", stream=True))
        for cut in (1, 30, 80, 130, 180, 230, len(whole) - 1, len(whole)):
            for leave in (Peer.close, Peer.reset):
                peer = await Peer.connect(url)
                await peer.send(whole[:cut])
                if cut == len(whole):
                    await peer.until(b"\n\n")
                leave(peer)
                net.failed(f"left after {cut} bytes by {leave.__name__}")
        answer = await exchange(url, whole[:-1])  # its end never comes
        assert answer.status == 408
        judge(net, "a body that stalls", answer)
    assert net.leaks() == []


def chat_bytes(body: Any) -> bytes:
    raw = json.dumps(body).encode()
    return f"{HOST}{AUTH}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


async def test_no_secret_comes_out_without_an_upstream(net: Net, tmp_path: Path) -> None:
    redactor = Redactor([PASSWORD, API_KEY])
    settings = config.load(config_file(tmp_path, "http://127.0.0.1:9"), {})
    with everything_logged(net, "no upstream", redactor):
        runner = await server.start(settings, on_secret=redactor.add)
        for stream in (True, False):
            answer = await post(server.address(runner), CHAT, chat("x", stream))
            judge(net, f"no upstream, {stream=}", answer)
        await server.stop(runner, 1)
    assert net.leaks() == []


def test_the_net_finds_a_secret_in_every_form() -> None:
    for name, secret in Net().secrets.items():
        for text in (secret, json.dumps(secret), repr(secret), quote(secret, safe="")):
            net = Net()
            net.put("somewhere", f"before {text} after")
            assert net.leaks(), (name, text)


ACCOUNT = "fitten: {accounts: [{username: ada, password: %s}]}\n"
CHAIN = "middlewares: [{api_key: {keys: [{name: a, key: %s}]}}]\n"
BAD_CONFIGS = {
    "a quote that is not closed": 'fitten: {accounts: [{username: a, password: "%s}]}\n',
    "no space after the colon": "fitten: {accounts: [{username: a, password:%s}]}\n",
    "a block without a space": "fitten:\n  accounts:\n    - username: a\n      password:%s\n",
    "a list for a password": "fitten: {accounts: [{username: a, password: [%s]}]}\n",
    "a mapping for a password": "fitten: {accounts: [{username: a, password: {%s: 1}}]}\n",
    "text for accounts": "fitten: {accounts: %s}\n",
    "text for an account": "fitten: {accounts: [%s]}\n",
    "the password twice": "fitten: {accounts: [{username: a, password: %s, password: %s}]}\n",
    "two accounts": "fitten: {accounts: [{username: a, password: %s}, {username: b, password: c}]}",
    "text for keys": "middlewares: [{api_key: {keys: %s}}]\n",
    "keys of text": "middlewares: [{api_key: {keys: [%s]}}]\n",
    "a key for a step": "middlewares: [{api_key: %s}]\n",
    "half a digest": "middlewares: [{api_key: {keys: [{name: a, key: 'sha256:%s'}]}}]\n",
    "an unknown anchor": "fitten: {accounts: [{username: a, password: *%s}]}\n",
    "a tab": "fitten:\n\taccounts: %s\n",
    "a proxy without a scheme": "fitten: {proxy: '%s'}\n",
    "a tag": "fitten: {accounts: [{username: a, password: !%s x}]}\n",
    "good but for the port": ACCOUNT + CHAIN + "server: {port: 70000}\n",
    "nothing but the secret": "%s\n",
}
BAD_INIS = {
    "no section": "username = a\npassword = %s\n",
    "no equals sign": "[Main]\nusername = a\n%s\n",
    "the password twice": "[Main]\npassword = %s\npassword = %s\n",
    "a secret as a section": "[%s]\nusername = a\n",
}


async def test_no_secret_comes_out_of_configurations_that_are_wrong(
    net: Net, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gateway.cli import main

    secret = "canaryconfig0815"
    net.secrets["configured secret"] = secret
    files = [(n, t, ".yaml") for n, t in BAD_CONFIGS.items()]
    files += [(n, t, ".ini") for n, t in BAD_INIS.items()]
    for name, text, ending in files:
        path = tmp_path / f"config{ending}"
        path.write_text(text.replace("%s", secret))
        for command in ("check", "serve"):
            assert main([command, "--config", str(path)]) == 2, name
            net.failed(f"{command} with {name}", *capsys.readouterr())
    assert net.leaks() == []


def started(path: Path, out: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A gateway as a process of its own, and its URL."""
    with out.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(path)],
            cwd=ROOT,
            stdout=sink,
            stderr=sink,
        )
    for _ in range(200):
        if found := re.search(r"http://127\.0\.0\.1:\d+(?=\s)", out.read_text()):
            return process, found[0]
        time.sleep(0.05)
    process.kill()
    raise AssertionError(out.read_text())


def proc(pid: int, entry: str) -> bytes:
    return Path(f"/proc/{pid}/{entry}").read_bytes()


async def test_no_secret_is_in_a_process_or_its_files(net: Net, tmp_path: Path) -> None:
    account = Account(USERNAME, PASSWORD, USER_ID)
    async with Emulator(accounts=[account]) as emulator:
        logging = {"level": "debug", "format": "console", "file": str(tmp_path / "log")}
        path = config_file(tmp_path, emulator.url, log=logging)
        process, url = await asyncio.to_thread(started, path, tmp_path / "out")
        try:
            for marker in ("say", "status code=500", "reset after=1", "html_200"):
                answer = await post(url, CHAT, chat(f"[[{marker}]]"))
                net.failed(f"process, {marker}", *(shown(answer) if marker != "say" else ()))
            for name, raw in BROKEN_HTTP.items():
                net.failed(f"process, {name}", *shown(await exchange(url, raw.encode())))
            for entry in ("cmdline", "environ", "comm"):
                net.put(entry, proc(process.pid, entry))
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
        finally:
            process.kill()
            process.wait()
    net.put("stdout and stderr", (tmp_path / "out").read_bytes())
    net.put("log file", (tmp_path / "log").read_bytes())
    assert "http_broken" in (tmp_path / "log").read_text()
    assert stat.S_IMODE((tmp_path / "fitten.json").stat().st_mode) == 0o600
    assert [f for f in os.listdir(tmp_path) if f.startswith("fitten.json")] == ["fitten.json"]
    assert net.leaks() == []
