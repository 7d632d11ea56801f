"""Runs a Fitten that fails in every way and quotes, wherever it can, all that it received."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from aiohttp import web

from emulator.raw_answer import AlreadySent
from tests.integration.canaries.net import SAID, USER_ID

TOKENS = {"access": "canary-access-0f9e8d7c6b5a", "refresh": "canary-refresh-1a2b3c4d5e6f"}
PATHS = {
    "login": "/codeuser/auth/login",
    "refresh": "/codeuser/auth/refresh_access_token",
    "models": "/codeapi/chat/models",
    "chat": "/codeapi/chat_auth",
    "version": "/codeuser/get_completion_version",
    "completion": "/codeapi/completion",
    "all": "",
}
Fault = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


def _status(code: int, **answer: Any) -> Fault:
    async def fault(_: web.Request, quoted: str) -> web.StreamResponse:
        header = quote(quoted)[:3000]
        headers = {"X-Heard": header, "Retry-After": header, "WWW-Authenticate": header}
        body = json.dumps({"detail": quoted, "error": quoted, "status_code": code, "msg": quoted})
        if answer.get("kind") == "html":
            body = f"<html>{quoted}</html>"
        return web.Response(status=code, text=body, headers=headers)

    return fault


async def _redirect(_: web.Request, quoted: str) -> web.StreamResponse:
    return web.Response(
        status=307, headers={"Location": f"https://x.invalid/{quote(quoted)[:2000]}"}
    )


async def _reason(_: web.Request, quoted: str) -> web.StreamResponse:
    return web.Response(status=500, reason=" ".join(quoted.split())[:1000], text=quoted)


async def _odd_types(_: web.Request, quoted: str) -> web.StreamResponse:
    """Return JSON of the wrong types, with a secret in place of each value."""
    names = ("access_token", "refresh_token", "chat", "agent", "generated_text", "delta", "usage")
    wrong: dict[str, Any] = {name: {quoted: [quoted]} for name in names}
    return web.json_response({**wrong, "user_info": quoted, "status_code": quoted})


def _raw(shape: str) -> Fault:
    async def fault(request: web.Request, quoted: str) -> web.StreamResponse:
        assert request.transport is not None
        line = " ".join(quoted.split())[:2000]
        request.transport.write(shape.replace("%s", line).encode("utf-8"))
        await asyncio.sleep(0.01)
        request.transport.close()
        return AlreadySent()

    return fault


def _lines(*lines: str) -> Fault:
    async def fault(request: web.Request, quoted: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for line in lines:
            await response.write(line.replace("%s", json.dumps(quoted)[1:-1]).encode())
        return response

    return fault


FAULTS: dict[str, Fault] = {
    **{f"status {code}": _status(code) for code in (400, 401, 403, 404, 422, 429, 500, 503)},
    "a page, status 502": _status(502, kind="html"),
    "a page, status 200": _status(200, kind="html"),
    "an error in status 200": _status(200),
    "a redirect": _redirect,
    "a long reason": _reason,
    "other types": _odd_types,
    "a broken status line": _raw("HTTP/1.1 %s\r\n\r\n"),
    "a broken header": _raw("HTTP/1.1 200 OK\r\n%s\r\n\r\n"),
    "a broken length": _raw("HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n%s"),
    "a broken chunk": _raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n%s"),
    "a broken coding": _raw("HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n\r\n%s"),
    "no HTTP at all": _raw("%s\r\n\r\n"),
}
CHAT_FAULTS: dict[str, Fault] = {
    "an error after text": _lines('{"delta":"' + SAID + '"}\n', '{"error":"%s"}\n'),
    "a detail after text": _lines('{"delta":"' + SAID + '"}\n', '{"detail":"%s"}\n'),
    "garbage only": _lines("%s %s\n", "%s\n"),
    "text cut short": _lines('{"delta":"' + SAID + '"}\n', '{"delta":"%s'),
}


class QuotingUpstream:
    """Gives good answers, except for `fault` at one path."""

    def __init__(self) -> None:
        self.path_name, self.fault = "", FAULTS["status 500"]
        self.url = ""
        self.expired = False  # whether the first token is refused

    async def serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        sent = "".join(f"{name}: {value}\n" for name, value in request.headers.items())
        quoted = f"{TOKENS} {request.raw_path} {sent} {body.decode('utf-8')}"
        if self.path_name and request.path.startswith(PATHS[self.path_name]):
            return await self.fault(request, quoted)
        if re.match(f"{PATHS['chat']}|{PATHS['completion']}", request.path) and self.expired:
            return web.json_response({"detail": quoted}, status=401)
        if request.path == PATHS["version"]:
            return web.json_response("1")
        answer = {f"{kind}_token": token for kind, token in TOKENS.items()}
        return web.json_response({**answer, "user_info": {"user_id": USER_ID}})


@asynccontextmanager
async def quoting_upstream() -> AsyncIterator[QuotingUpstream]:
    """Run one that listens on a free port."""
    upstream = QuotingUpstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    upstream.url = f"http://{host}:{port}"
    try:
        yield upstream
    finally:
        await runner.cleanup()
