"""The calls to Fitten, on the one shared ClientSession; their failures end here.

No exception of the HTTP library, no upstream text and no URL (it holds the user's id)
passes this border: what comes out is data or a GatewayError.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from gateway import __version__
from gateway.config import Fitten
from gateway.errors import GatewayError, UpstreamError
from gateway.fitten.body import Body, SessionBody
from gateway.fitten.exchange import Exchange
from gateway.fitten.failures import (
    login_object_error,
    login_status_error,
    retry_after,
    translated,
    worth_repeating,
)
from gateway.fitten.wire import error_object, status_error

_AGENT = f"fitten-gateway/{__version__}"
_LARGE = 1024 * 1024  # beyond it aiohttp wants a body it can send piece by piece
_MAX_ANSWER = 1024 * 1024  # of the small calls; a login is a few KB

# Protocol 5: the headers of the one client that is known to read the model list.
_MODELS_HEADERS = {
    "Accept": "application/json, text/plain, */*",
    "X-Api-Version": "v2",
    "Origin": "https://cs.fittentech.com",
    "Referer": "https://cs.fittentech.com/",
}


class FittenClient:
    """Fitten's HTTP calls, one method each; usable inside `async with client.open()`."""

    def __init__(self, settings: Fitten) -> None:
        self._settings = settings
        self._timeouts = settings.timeouts
        self._base = settings.base_url.rstrip("/")
        self._models_base = settings.models_url.rstrip("/")
        self._http: aiohttp.ClientSession
        self._unpooled: aiohttp.ClientSession
        # Only ClientSession knows how to ask a proxy.
        self._plain = settings.chat_client == "aiohttp" or settings.proxy is not None
        # By user, of whom there are as many as accounts: the token and what was made for it.
        self._chat_heads: dict[str, tuple[str, aiohttp.ClientRequest, bytes]] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The one shared session: connections, TLS, DNS, proxy and pool.

        It has no total time limit and no limit of connections, since both would strike
        open streams; no cookies, which would be shared by all callers.
        """
        settings = self._settings
        context: ssl.SSLContext | bool = True
        if settings.ca_file:
            context = ssl.create_default_context(cafile=settings.ca_file)
        connect = settings.timeouts.connect

        def session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": _AGENT},
                proxy=settings.proxy.value if settings.proxy else None,
            )

        async with (
            session(aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=15)) as self._http,
            # For repeats: an upstream that restarts closes all pooled connections at once.
            session(aiohttp.TCPConnector(limit=0, ssl=context, force_close=True)) as self._unpooled,
        ):
            yield self._http

    async def login(self, username: str, password: str) -> dict[str, Any]:
        """Protocol 2.1. The answer's object, whatever is in it.

        Raises UpstreamUnauthorized for refused credentials, else a retryable GatewayError.
        """
        raw = await self._call_raw(
            "POST",
            URL(f"{self._base}/codeuser/auth/login"),
            body={"username": username, "password": password},
            may_repeat=lambda: True,
            status_means=login_status_error,
        )
        try:
            return _object(raw)
        except GatewayError as error:
            raise login_object_error(error) from None

    async def refresh_access_token(self, refresh_token: str) -> dict[str, Any]:
        """Protocol 3.3. The answer's object, whatever is in it."""
        return await self._call(
            "POST",
            f"{self._base}/codeuser/auth/refresh_access_token",
            body={},
            bearer=refresh_token,
        )

    async def chat_models(self, access_token: str) -> dict[str, Any]:
        """Protocol 5. The answer's object, whatever is in it."""
        return await self._call(
            "GET",
            f"{self._models_base}/codeapi/chat/models",
            bearer=access_token,
            headers=_MODELS_HEADERS,
        )

    async def completion_version(self, user_id: str, access_token: str) -> str:
        """Protocol 6.2, step 1: a JSON string. "" for an answer that is none."""
        url = URL(f"{self._base}/codeuser/get_completion_version").with_query(ft_token=user_id)
        raw = await self._call_raw("GET", url, bearer=access_token)
        try:
            return msgspec.json.decode(raw, type=str)
        except ValueError:
            _object(raw)  # an error object raises what it means
            return ""

    async def complete(
        self,
        version: str,
        user_id: str,
        access_token: str,
        body: dict[str, Any],
        *,
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> dict[str, Any]:
        """Protocol 6.2, step 2. The answer's object; an error object raises what it means.

        may_repeat: as for `chat`.
        """
        path = f"/codeapi/completion{version}/generate_one_stage_auth/{quote(user_id, safe='')}"
        return _object(
            await self._call_raw(
                "POST",
                URL(self._base + path, encoded=True),
                body=body,
                bearer=access_token,
                packed=True,
                may_repeat=may_repeat,
            )
        )

    async def chat(
        self,
        user_id: str,
        access_token: str,
        body: bytes,
        *,
        limit: float | None = None,
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> Body:
        """Protocol 4.1: an answer with status 200, its body not read yet; to be closed.

        limit: seconds in which the headers have to come; `first_piece` unless given.
        may_repeat: asked before a request that a lost connection left without any answer
            is made once more.
        Closing it before the body's end closes the connection. Raises UpstreamUnauthorized
        for 401, else another GatewayError.
        """
        limit = self._timeouts.first_piece if limit is None else limit
        try:
            response = await self._post_chat(user_id, access_token, body, limit, may_repeat)
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error) from None
        if response.status != 200:
            response.close()
            raise status_error(response.status, retry_after(response.header("Retry-After")))
        return response

    async def _post_chat(
        self,
        user_id: str,
        access_token: str,
        body: bytes,
        limit: float,
        may_repeat: Callable[[], bool],
    ) -> Body:
        post = self._post_plainly if self._plain else self._post_leanly
        try:
            return await post(self._http, user_id, access_token, body, limit)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not worth_repeating(error) or not may_repeat():
                raise
        return await post(self._unpooled, user_id, access_token, body, limit)

    async def _post_plainly(
        self,
        http: aiohttp.ClientSession,
        user_id: str,
        access_token: str,
        body: bytes,
        limit: float,
    ) -> Body:
        async with asyncio.timeout(limit):
            response = await http.post(
                self._chat_url(user_id),
                data=io.BytesIO(body) if len(body) > _LARGE else body,
                headers={
                    "Content-Type": "application/json",
                    "Authorization": f"Bearer {access_token}",
                },
                allow_redirects=False,
            )
        return SessionBody(response)

    async def _post_leanly(
        self,
        http: aiohttp.ClientSession,
        user_id: str,
        access_token: str,
        body: bytes,
        limit: float,
    ) -> Body:
        """The same request on a connection of the session's pool, without its ceremony."""
        connector = http.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the gateway is shutting down")
        route, head = self._chat_head(user_id, access_token)
        try:
            async with asyncio.timeout(http.timeout.connect):  # `connect` does not limit a lookup
                connection = await connector.connect(route, [], http.timeout)
        except TimeoutError as error:  # ClientSession tells it apart likewise: nothing was sent
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        exchange = Exchange(connection)
        try:
            head = b"%bContent-Length: %d\r\n\r\n" % (head, len(body))
            await exchange.start(head, body, limit)
        except BaseException:
            exchange.close()
            raise
        return exchange

    def _chat_url(self, user_id: str) -> URL:
        return URL(f"{self._base}/codeapi/chat_auth").with_query(ft_token=user_id)

    def _chat_head(self, user_id: str, access_token: str) -> tuple[aiohttp.ClientRequest, bytes]:
        """What names the pool's connections for a chat, and the head of its request.

        Made once for a token: it costs more than all else that is done for a small request.
        """
        token, route, head = self._chat_heads.get(user_id, ("", None, b""))
        if route is None or token != access_token:
            url = self._chat_url(user_id)
            headers = {
                "User-Agent": _AGENT,
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
                session=self._http,
            )
            lines = [f"POST {url.raw_path_qs} HTTP/1.1", f"Host: {route.headers['Host']}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            head = "\r\n".join([*lines, ""]).encode("ascii")
            self._chat_heads[user_id] = access_token, route, head
        return route, head

    async def _call(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        bearer: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        return _object(
            await self._call_raw(
                method,
                URL(url),
                body=body,
                bearer=bearer,
                headers=headers,
                may_repeat=lambda: method == "POST",  # aiohttp repeats a GET by itself
            )
        )

    async def _call_raw(
        self,
        method: str,
        url: URL,
        *,
        body: Any = None,
        bearer: str | None = None,
        headers: dict[str, str] | None = None,
        packed: bool = False,
        may_repeat: Callable[[], bool] = lambda: False,
        status_means: Callable[[int, float | None], GatewayError] = status_error,
    ) -> bytes:
        sent = dict(headers or {})
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = msgspec.json.encode(body)
            if packed:
                sent["Content-Encoding"] = "gzip"
                data = gzip.compress(data, compresslevel=1)
        try:
            async with (
                asyncio.timeout(self._timeouts.call),
                await self._response(method, url, sent, data, may_repeat) as response,
            ):
                if not 200 <= response.status < 300:
                    wait = retry_after(response.headers.get("Retry-After", ""))
                    raise status_means(response.status, wait)
                return await _read(response)
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error) from None

    async def _response(
        self,
        method: str,
        url: URL,
        headers: dict[str, str],
        data: bytes | None,
        may_repeat: Callable[[], bool],
    ) -> aiohttp.ClientResponse:
        try:
            return await self._http.request(
                method, url, data=data, headers=headers, allow_redirects=False
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not worth_repeating(error) or not may_repeat():
                raise
        return await self._unpooled.request(
            method, url, data=data, headers=headers, allow_redirects=False
        )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > _MAX_ANSWER:
            return b""
        parts.append(part)
    return b"".join(parts)


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object in an answer; an error object (protocol 2.2 F-a) raises what it means."""
    try:
        answer = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise UpstreamError(
            "Fitten's answer cannot be understood.", code="upstream_invalid_response"
        )
    if error := error_object(answer):
        raise error
    return answer
