"""The request of a chat (protocol 4.1): by aiohttp's session, or on a connection of its pool.

Both raise what aiohttp raises, and OSError; both give a body that is not read yet.
"""

from __future__ import annotations

import asyncio
import io
from typing import Protocol

import aiohttp
from yarl import URL

from gateway import __version__
from gateway.fitten.http.connection import ChatConnection
from gateway.fitten.http.response_body import AiohttpResponseBody, ResponseBody

USER_AGENT = f"fitten-gateway/{__version__}"

_LARGE = 1024 * 1024  # bytes beyond which aiohttp wants a body it can send piece by piece


class ChatTransport(Protocol):
    """One way to ask."""

    async def post(
        self,
        http: aiohttp.ClientSession,
        user_id: str,
        access_token: str,
        body: bytes,
        limit: float,
    ) -> ResponseBody:
        """The response, whose head has come within `limit` seconds; to be closed."""
        ...


class AiohttpTransport:
    """As aiohttp does it, by a proxy too. base: the address of Fitten."""

    def __init__(self, base: str) -> None:
        self._base = base

    async def post(
        self,
        http: aiohttp.ClientSession,
        user_id: str,
        access_token: str,
        body: bytes,
        limit: float,
    ) -> ResponseBody:
        """See `ChatTransport`."""
        async with asyncio.timeout(limit):
            response = await http.post(
                _url(self._base, user_id),
                data=io.BytesIO(body) if len(body) > _LARGE else body,
                headers={
                    "Content-Type": "application/json",
                    "Authorization": f"Bearer {access_token}",
                },
                allow_redirects=False,
            )
        return AiohttpResponseBody(response)


class LeanTransport:
    """The same request on a connection of the session's pool, without its ceremony."""

    def __init__(self, base: str) -> None:
        self._base = base
        # By user, of whom there are as many as accounts: the token and what was made for it.
        self._heads: dict[str, tuple[str, aiohttp.ClientRequest, bytes]] = {}

    async def post(
        self,
        http: aiohttp.ClientSession,
        user_id: str,
        access_token: str,
        body: bytes,
        limit: float,
    ) -> ResponseBody:
        """See `ChatTransport`."""
        connector = http.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the gateway is shutting down")
        route, head = self._head(http, user_id, access_token)
        try:
            async with asyncio.timeout(http.timeout.connect):  # `connect` does not limit a lookup
                connection = await connector.connect(route, [], http.timeout)
        except TimeoutError as error:  # ClientSession tells it apart likewise: nothing was sent
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        exchange = ChatConnection(connection)
        try:
            head = b"%bContent-Length: %d\r\n\r\n" % (head, len(body))
            await exchange.start(head, body, limit)
        except BaseException:
            exchange.close()
            raise
        return exchange

    def _head(
        self, http: aiohttp.ClientSession, user_id: str, access_token: str
    ) -> tuple[aiohttp.ClientRequest, bytes]:
        """What names the pool's connections for a chat, and the head of its request.

        Made once for a token: it costs more than all else that is done for a small request.
        """
        token, route, head = self._heads.get(user_id, ("", None, b""))
        if route is None or token != access_token:
            url = _url(self._base, user_id)
            headers = {
                "User-Agent": USER_AGENT,
                # A compressed stream waits in the compressor.
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                "Authorization": f"Bearer {access_token}",
            }
            route = aiohttp.ClientRequest(
                "POST",
                url,
                headers=headers,
                skip_auto_headers=("Content-Length",),
                loop=asyncio.get_running_loop(),
                session=http,
            )
            lines = [f"POST {url.raw_path_qs} HTTP/1.1", f"Host: {route.headers['Host']}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            head = "\r\n".join([*lines, ""]).encode("ascii")
            self._heads[user_id] = access_token, route, head
        return route, head


def _url(base: str, user_id: str) -> URL:
    return URL(f"{base}/codeapi/chat_auth").with_query(ft_token=user_id)
