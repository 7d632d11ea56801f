"""Makes the HTTP calls to Fitten and translates their failures.

Every call returns data or raises a GatewayError. No exception of the HTTP library, no text of
the upstream and no URL (it contains the user's id) leaves this module.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from gateway.config.settings import FittenSettings
from gateway.errors import GatewayError, UpstreamError
from gateway.fitten.error_mapping import (
    error_object,
    login_object_error,
    login_status_error,
    retry_after,
    status_error,
)
from gateway.fitten.http.connection_errors import connection_error, is_worth_repeating
from gateway.fitten.http.response_body import ResponseBody
from gateway.fitten.http.transport import USER_AGENT, AiohttpTransport, ChatTransport, LeanTransport

_GZIP = 31  # zlib's window bits for the gzip format (RFC 1952)
_MAX_ANSWER = 1024 * 1024  # bytes of an answer, except for chats; a login is a few KB

# Protocol 5: the headers of the only client that is known to read the model list.
_MODELS_HEADERS = {
    "Accept": "application/json, text/plain, */*",
    "X-Api-Version": "v2",
    "Origin": "https://cs.fittentech.com",
    "Referer": "https://cs.fittentech.com/",
}


class FittenClient:
    """Provides one method per HTTP call of Fitten, inside `async with client.open()`."""

    def __init__(self, settings: FittenSettings) -> None:
        self._settings = settings
        self._timeouts = settings.timeouts
        self._base = settings.base_url.rstrip("/")
        self._models_base = settings.models_url.rstrip("/")
        self._http: aiohttp.ClientSession
        self._unpooled: aiohttp.ClientSession
        self._proxied = settings.proxy is not None
        # Only ClientSession can use a proxy.
        by_aiohttp = settings.chat_client == "aiohttp" or self._proxied
        self._chat_call: ChatTransport = (
            AiohttpTransport(self._base) if by_aiohttp else LeanTransport(self._base)
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Open the shared session: TLS, DNS, proxy and the pool of connections.

        It has no total time limit and no limit of connections, since both would break open
        streams. It keeps no cookies, since all callers would share them.
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
                headers={"User-Agent": USER_AGENT},
                proxy=settings.proxy.value if settings.proxy else None,
            )

        async with (
            session(aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=15)) as self._http,
            # For repeated calls: when Fitten restarts, all pooled connections are closed at once.
            session(aiohttp.TCPConnector(limit=0, ssl=context, force_close=True)) as self._unpooled,
        ):
            yield self._http

    async def login(self, username: str, password: str) -> dict[str, Any]:
        """Log in (protocol 2.1); return the JSON object of the answer, its members unchecked.

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
        """Refresh the tokens (protocol 3.3); return the JSON object, its members unchecked."""
        return await self._call(
            "POST",
            f"{self._base}/codeuser/auth/refresh_access_token",
            body={},
            bearer=refresh_token,
        )

    async def chat_models(self, access_token: str) -> dict[str, Any]:
        """Fetch the list of models (protocol 5); return the JSON object, its members unchecked."""
        return await self._call(
            "GET",
            f"{self._models_base}/codeapi/chat/models",
            bearer=access_token,
            headers=_MODELS_HEADERS,
        )

    async def completion_version(self, user_id: str, access_token: str) -> str:
        """Fetch the completion version (protocol 6.2, step 1), a JSON string.

        Returns "" for an answer that is not a JSON string.
        """
        url = URL(f"{self._base}/codeuser/get_completion_version").with_query(ft_token=user_id)
        raw = await self._call_raw("GET", url, bearer=access_token)
        try:
            return msgspec.json.decode(raw, type=str)
        except ValueError:
            _object(raw)  # raises the error that an error object stands for
            return ""

    async def complete(
        self,
        path_suffix: str,
        user_id: str,
        access_token: str,
        body: dict[str, Any],
        *,
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> dict[str, Any]:
        """Request a completion (protocol 6.2, step 2); return the JSON object of the answer.

        path_suffix: the part of the path that depends on the completion version.
        may_repeat: see `chat`.
        Raises a GatewayError for an error object.
        """
        path = f"/codeapi/completion{path_suffix}/generate_one_stage_auth/{quote(user_id, safe='')}"
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
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> ResponseBody:
        """Start a chat (protocol 4.1); return a response with status 200, its body not read yet.

        Only opening a connection has a time limit of its own: the caller has the deadline.

        may_repeat: called when the connection was lost before any answer; returns whether
            the request may be sent once more.

        The caller closes the response. Closing it before the end of its body closes the
        connection. Raises UpstreamUnauthorized for 401, else another GatewayError.
        """
        try:
            response = await self._post_chat(user_id, access_token, body, may_repeat)
        except (aiohttp.ClientError, OSError) as error:
            raise connection_error(error, proxied=self._proxied) from None
        if response.status != 200:
            response.close()
            raise status_error(response.status, retry_after(response.header("Retry-After")))
        return response

    async def _post_chat(
        self,
        user_id: str,
        access_token: str,
        body: bytes,
        may_repeat: Callable[[], bool],
    ) -> ResponseBody:
        post = self._chat_call.post
        try:
            return await post(self._http, user_id, access_token, body)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not is_worth_repeating(error) or not may_repeat():
                raise
        return await post(self._unpooled, user_id, access_token, body)

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
                data = zlib.compress(data, level=1, wbits=_GZIP)
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
            raise connection_error(error, proxied=self._proxied) from None

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
            if not is_worth_repeating(error) or not may_repeat():
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
    """Return the JSON object of an answer.

    Raises the GatewayError that an error object stands for (protocol 2.2 F-a).
    """
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
