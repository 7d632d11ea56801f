"""No secret leaves a real process: not to systemd, its streams or its files."""

from __future__ import annotations

import itertools
import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from emulator import EmulatedAccount, Emulator
from tests.integration.canaries.gateway import chat, config_data, exchange, post
from tests.integration.canaries.net import (
    API_KEY,
    OTHER_PASSWORD,
    OTHER_USER_ID,
    OTHER_USERNAME,
    PASSWORD,
    USER_ID,
    USERNAME,
    WRONG_KEY,
    Net,
    net,
    shown,
)
from tests.integration.canaries.scenarios import BAD_BODIES, BROKEN_HTTP
from tests.integration.peer import CHAT, Peer, chat_head
from tests.process.systemd import ROOT, FakeSystemd, GatewayService, children

__all__ = ["net"]

MIDDLEWARES = '''
import asyncio
import functools
import threading
from gateway import Secret


class Finalized:
    def __init__(self, heard): self.heard = heard
    def __del__(self): raise ValueError(self.heard)


def fails(heard, *more): raise ValueError(heard)


def bugs():
    """Fails in the way that the request asks for, and quotes all there is."""
    async def middleware(request, handler):
        if "x-bug" not in request.headers:
            return await handler(request)
        heard = f"{dict(request.headers)} {request.raw_path} {await request.text()}"
        loop = asyncio.get_running_loop()
        match request.headers["x-bug"]:
            case "here": raise ValueError(heard)
            case "a thread":
                thread = threading.Thread(target=fails, args=(heard,), name=heard[:9])
                thread.start()
                thread.join()
            case "a finalizer": Finalized(heard)
            case "a callback":
                loop.call_soon(fails, heard, heard)
                loop.call_soon(functools.partial(fails, heard), heard)
            case "a task":
                async def task(): raise ValueError(heard)
                asyncio.create_task(task())
                await asyncio.sleep(0.01)
        return await handler(request)
    return middleware


def no_build(*, word: Secret):
    raise ValueError(f"cannot use {word.value}")


def no_start():
    async def middleware(request, handler): return await handler(request)
    class BrokenAtStart:
        async def __call__(self, request, handler): return await handler(request)
        async def lifespan(self, app):
            raise ValueError(repr(app) + open("config.yaml").read())
            yield
    return BrokenAtStart()
'''
BUGS = ("here", "a thread", "a finalizer", "a callback", "a task")
FAILING = ("status code=500", "reset after=1", "html_200", "silent", "detail_200")
NEW_KEY = "canary-new-key-c4ca4238a0b9"
SECRETS = {"env": "canary-of-the-environment-1", "file": "canary-of-a-file-22", "new": NEW_KEY}
SECRETS["credential"] = "canary-credential-333"


class Place:
    """A folder with a configuration, and the emulator that it names."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self.emulator = emulator
        self.workers = 1
        (folder / "acme.py").write_text(MIDDLEWARES)
        for name, source in (("secret", "file"), ("credentials/key", "credential")):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(SECRETS[source])
            path.chmod(0o600)
        self.environ = {
            "PYTHONPATH": f"{ROOT}:{folder}",
            "CANARY": SECRETS["env"],
            "CREDENTIALS_DIRECTORY": str(folder / "credentials"),
        }

    def configure(self, *middlewares: Any, **sections: Any) -> None:
        sources = ("${CANARY}", f"${{file:{self.folder}/secret}}", "${credential:key}")
        keys = [{"name": f"k{i}", "key": key} for i, key in enumerate((API_KEY, *sources))]
        chain = ["request_id", "request_log", {"api_key": {"keys": keys}}, *middlewares]
        log = {"level": "debug", "format": "json", "file": str(self.folder / "log")}
        everything = {"log": log, "middlewares": chain, **sections}
        data = config_data(self.folder, self.emulator.url, **everything)
        data["server"] |= {"drain_timeout": 0.3, "workers": self.workers}
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")


@pytest.fixture
async def place(net: Net, tmp_path: Path) -> AsyncIterator[Place]:
    net.secrets |= SECRETS
    accounts = [
        EmulatedAccount(USERNAME, PASSWORD, USER_ID),
        EmulatedAccount(OTHER_USERNAME, OTHER_PASSWORD, OTHER_USER_ID),
    ]
    async with Emulator(accounts=accounts) as emulator:
        yield Place(tmp_path, emulator)


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_secret_leaves_a_process_from_start_to_end(
    net: Net, fake_systemd: FakeSystemd, place: Place, workers: int
) -> None:
    place.workers = workers
    place.configure("acme:bugs")
    service = await fake_systemd.start(environ=place.environ)
    await fail(net, fake_systemd.url)
    for key in (*SECRETS.values(), WRONG_KEY):
        answer = await post(fake_systemd.url, CHAT, chat("[[say]]"), key)
        assert answer.status == (401 if key in (NEW_KEY, WRONG_KEY) else 200)
        net.failed(f"key {key}", str(answer.headers), *shown(answer))
    family = [service.pid, *children(service.pid)]
    assert len(family) == (1 if workers == 1 else 1 + workers)
    for pid, entry in itertools.product(family, ("cmdline", "comm", "environ")):
        net.put(entry, seen(pid, entry))

    state = place.folder / "state"
    spool = b"".join(file.read_bytes() for file in state.glob("team.db.spool/*.jsonl"))
    assert b'"line":"ended"' in spool
    await reload_badly(net, fake_systemd, service, place)
    await reload_well(fake_systemd, service, place)
    await stop_with_a_stream(net, fake_systemd, service)

    net.put("stderr", service.raw)
    net.put("stdout", fake_systemd.stdout.read_bytes())
    net.put("log file", (place.folder / "log").read_bytes())
    net.put("datagrams", "\n".join(fake_systemd.datagrams))
    for event in ("http_broken", "bug", "reload_refused", "reloaded", "draining", "stopped"):
        assert f'"event":"{event}"' in service.raw
    assert service.raw.count("ValueError: (") >= len(BUGS)
    ledger = (state / "team.db").read_bytes()
    assert b"upstream_error" in ledger
    assert b"draining" in ledger
    for place_of_rows, rows in (("spool", spool), ("database", ledger)):
        net.put(place_of_rows, rows)
        assert b"127.0.0.1" not in rows
    left = ["fitten.json", "fitten.json.lock", "team.db", "team.db.spool"]
    assert sorted(os.listdir(state)) == left
    assert stat.S_IMODE((state / "team.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "team.db.spool").stat().st_mode) == 0o700
    assert (state / "fitten.json.lock").read_bytes() == b""
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "fitten.json").stat().st_mode) == 0o600
    assert len(net.failures) >= 80
    assert net.leaks() == []


def seen(pid: int, entry: str) -> bytes:
    """Return what others see of the process, without its environment, which has the secrets."""
    shown = Path(f"/proc/{pid}/{entry}").read_bytes()
    return shown.replace(SECRETS["env"].encode(), b"") if entry == "environ" else shown


async def fail(net: Net, url: str) -> None:
    for marker in FAILING:
        for stream in (True, False):
            net.judge(f"{marker} {stream=}", await post(url, CHAT, chat(f"[[{marker}]]", stream)))
    for name, raw in BROKEN_HTTP.items():
        net.judge(name, await exchange(url, raw.encode()))
    for name, body in BAD_BODIES.items():
        net.judge(name, await post(url, CHAT, body))
    refused = json.dumps(BAD_BODIES["a number"]).encode()
    for bug in BUGS:
        head = {"Authorization": f"Bearer {API_KEY}", "X-Bug": bug}
        head["Content-Length"] = str(len(refused))
        net.judge(f"a bug in {bug}", await exchange(url, chat_head(head) + refused))


async def reload_badly(
    net: Net, fake_systemd: FakeSystemd, service: GatewayService, place: Place
) -> None:
    new = {"api_key": {"keys": [{"name": "n", "key": NEW_KEY}]}}
    bad: dict[str, dict[str, Any]] = {
        "text for keys": {"middlewares": [{"api_key": {"keys": NEW_KEY}}]},
        "an unknown option": {"middlewares": [new], NEW_KEY: 1},
        "no log": {"middlewares": [new], "log": {"file": f"/nowhere/{NEW_KEY}/../log"}},
        "a middleware that does not start": {"middlewares": [new, "acme:no_start"]},
        "a middleware that cannot be built": {
            "middlewares": [new, {"acme:no_build": {"word": NEW_KEY}}]
        },
        "a secret as a level": {"log": {"level": "${CANARY}"}},
    }
    for name, sections in bad.items():
        place.configure(**sections)
        assert "reload refused" in await fake_systemd.reload(service), name
        net.failed(name)
    (place.folder / "config.yaml").write_text(f"middlewares:\n  - api_key: *{NEW_KEY}\n")
    assert "reload refused" in await fake_systemd.reload(service)


async def reload_well(fake_systemd: FakeSystemd, service: GatewayService, place: Place) -> None:
    place.configure(middlewares=[{"api_key": {"keys": [{"name": "n", "key": NEW_KEY}]}}])
    assert "refused" not in await fake_systemd.reload(service)
    assert (await post(fake_systemd.url, CHAT, chat("[[say]]"), API_KEY)).status == 401
    assert (await post(fake_systemd.url, CHAT, chat("[[say]]"), NEW_KEY)).status == 200


async def stop_with_a_stream(net: Net, fake_systemd: FakeSystemd, service: GatewayService) -> None:
    body = b'{"stream":true,"messages":[{"role":"user","content":"[[endless]]"}]}'
    head = {"Authorization": f"Bearer {NEW_KEY}", "Content-Length": str(len(body))}
    peer = await Peer.connect(fake_systemd.url)
    await peer.send(chat_head(head) + body)
    await peer.until(b"\n\n")
    service.signal(signal.SIGTERM)
    said = await peer.rest()
    peer.close()
    assert b'"code":"draining"' in said
    net.failed("a shutdown", said.rpartition(b"data: ")[2])
    assert await service.exit_status() == 0


async def test_no_secret_leaves_a_process_that_cannot_start(
    net: Net, fake_systemd: FakeSystemd, place: Place
) -> None:
    place.configure("acme:no_start")
    service = await fake_systemd.start(environ=place.environ, wait=False)
    assert await service.exit_status() == 1
    assert "ValueError: (" in service.raw
    assert 'raise ValueError(repr(app) + open("config.yaml").read())' in service.raw
    net.put("stderr", service.raw)
    net.put("stdout", fake_systemd.stdout.read_bytes())
    net.put("datagrams", "\n".join(fake_systemd.datagrams))
    assert net.leaks() == []


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_middleware_that_cannot_be_built_is_a_mistake_without_its_secret(
    net: Net, fake_systemd: FakeSystemd, place: Place, workers: int
) -> None:
    place.workers = workers
    place.configure({"acme:no_build": {"word": NEW_KEY}})
    service = await fake_systemd.start(environ=place.environ, wait=False)
    assert await service.exit_status() == (2 if workers == 1 else 1)
    said = "middlewares[3].acme:no_build: cannot be built: ValueError: cannot use ****"
    assert said in service.raw
    net.put("stderr", service.raw)
    assert net.leaks() == []
