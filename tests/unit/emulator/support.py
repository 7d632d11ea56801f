"""A client of the emulator, over real sockets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

LOGIN = "/codeuser/auth/login"
REFRESH = "/codeuser/auth/refresh_access_token"
CHAT = "/codeapi/chat_auth"


@dataclass
class EmulatorReply:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def lines(self) -> list[Any]:
        """The lines of a well-formed stream."""
        return [json.loads(line) for line in self.raw.splitlines()]

    @property
    def text(self) -> str:
        return "".join(line.get("delta", "") for line in self.lines)


class EmulatorClient:
    """A client of Fitten, one method for each call."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.access = ""
        self.refresh = ""

    async def request(self, method: str, path: str, **options: Any) -> EmulatorReply:
        async with self.session.request(
            method, self.url + path, allow_redirects=False, **options
        ) as r:
            return EmulatorReply(r.status, dict(r.headers), await r.read())

    async def login(
        self, username: str = "demo_user", password: str = "correct horse"
    ) -> EmulatorReply:
        """Log in and keep the tokens, if there are any."""
        body = {"username": username, "password": password}
        reply = await self.request("POST", LOGIN, json=body)
        try:
            self.access = reply.json.get("access_token", "")
            self.refresh = reply.json.get("refresh_token", "")
        except ValueError:
            pass
        return reply

    async def renew(self, **options: Any) -> EmulatorReply:
        """Ask for a new access token."""
        return await self.request("POST", REFRESH, headers=bearer(self.refresh), **options)

    def chat_options(self, text: str, **meta: Any) -> dict[str, Any]:
        inputs = f"<|system|>\nReply English.\n<|end|>\n<|user|>\n{text}\n<|end|>\n<|assistant|>"
        body = {"inputs": inputs, "ft_token": "u_demo_user", "meta_datas": meta}
        return {"json": body, "headers": bearer(self.access)}

    async def chat(self, text: str, **meta: Any) -> EmulatorReply:
        """Send one user message and read the whole answer."""
        options = self.chat_options(text, **meta)
        return await self.request("POST", f"{CHAT}?ft_token=u_demo_user", **options)

    def open_chat(self, text: str) -> Any:
        """Send one user message; a context manager around the answer."""
        return self.session.post(self.url + CHAT, **self.chat_options(text))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
