"""Sends the request of a chat (protocol 4.1) with aiohttp's session or on a pooled connection.

Both transports return a response whose body is not read yet. Both raise the exceptions of
aiohttp, OSError and TimeoutError.
"""

from __future__ import annotations

import asyncio
import io
from typing import Protocol

import aiohttp
from yarl import URL

from gateway import __version__
from gateway.fitten.http.connection import ChatConnection
from gateway.fitten.http.response_body import MAX_READ, AiohttpResponseBody, ResponseBody

USER_AGENT = f"fitten-gateway/{__version__}"

_LARGE = 1024 * 1024  # bytes; aiohttp wants a larger body as a file, to send it in parts


class ChatTransport(Protocol):
    """Sends the request of a chat."""

    async def post(
        self,
        http: aiohttp.ClientSession,
        user_id: str,
        access_token: str,
        body: bytes,
    ) -> ResponseBody:
        """Send the request and return the response, which the caller closes."""
        ...


class AiohttpTransport:
    """Sends the request with ClientSession, through a proxy if one is configured.

    base: the address of Fitten.
    """

    def __init__(self, base: str) -> None:
        self._base = base

    async def post(
        self,
        http: aiohttp.ClientSession,
        user_id: str,
        access_token: str,
        body: bytes,
    ) -> ResponseBody:
        """See `ChatTransport`."""
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
    """Sends the request directly on a pooled connection of the session, which is faster.

    base: the address of Fitten.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        # By user id (one per account): the access token and what was prepared for it.
        self._heads: dict[str, tuple[str, aiohttp.ClientRequest, bytes]] = {}
        self._buffer = memoryview(bytearray(MAX_READ))

    async def post(
        self,
        http: aiohttp.ClientSession,
        user_id: str,
        access_token: str,
        body: bytes,
    ) -> ResponseBody:
        """See `ChatTransport`."""
        connector = http.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the gateway is shutting down")
        route, head = self._head(http, user_id, access_token)
        try:
            async with asyncio.timeout(http.timeout.connect):  # `connect` ignores the DNS lookup
                connection = await connector.connect(route, [], http.timeout)
        except TimeoutError as error:  # like ClientSession; this class says that nothing was sent
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        exchange = ChatConnection(connection, self._buffer)
        try:
            head = b"%bContent-Length: %d\r\n\r\n" % (head, len(body))
            await exchange.start(head, body)
        except BaseException:
            exchange.close()
            raise
        return exchange

    def _head(
        self, http: aiohttp.ClientSession, user_id: str, access_token: str
    ) -> tuple[aiohttp.ClientRequest, bytes]:
        """Return the request that identifies connections in the pool, and the request's head.

        Both are made once per token: that takes longer than the rest of a small request.
        """
        token, route, head = self._heads.get(user_id, ("", None, b""))
        if route is None or token != access_token:
            url = _url(self._base, user_id)
            headers = {
                "User-Agent": USER_AGENT,
                # A compressor would hold back parts of a stream.
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
