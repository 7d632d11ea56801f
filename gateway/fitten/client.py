"""The calls to Fitten, on the one shared ClientSession; their failures end here.

No exception of the HTTP library, no upstream text and no URL (it holds the user's id)
passes this border: what comes out is data or a GatewayError.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from gateway import __version__
from gateway.config import Fitten
from gateway.errors import GatewayError, UpstreamError, UpstreamTimeout
from gateway.fitten.reading import BulkReader
from gateway.fitten.wire import error_object, status_error

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
        self._chat_user: str | None = None
        self._chat = URL()

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
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=15),
            timeout=aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"fitten-gateway/{__version__}"},
            proxy=settings.proxy.value if settings.proxy else None,
        ) as self._http:
            yield self._http

    async def login(self, username: str, password: str) -> dict[str, Any]:
        """Protocol 2.1. The answer's object, whatever is in it.

        Raises UpstreamUnauthorized for refused credentials, else another GatewayError.
        """
        return await self._call(
            "POST",
            f"{self._base}/codeuser/auth/login",
            body={"username": username, "password": password},
        )

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

    async def chat(self, user_id: str, access_token: str, body: bytes) -> aiohttp.ClientResponse:
        """Protocol 4.1: an answer with status 200, its body not read yet; to be closed.

        Closing it before the body's end closes the connection. Raises UpstreamUnauthorized
        for 401, else another GatewayError. Waits for the headers at most `first_piece`.
        """
        try:
            async with asyncio.timeout(self._timeouts.first_piece):
                response = await self._post_chat(user_id, access_token, body)
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error) from None
        if response.status != 200:
            response.close()
            raise status_error(response.status, _retry_after(response))
        BulkReader.take_over(response)
        return response

    def _chat_url(self, user_id: str) -> URL:
        """Built once for a user: encoding a query costs a tenth of a whole call."""
        if self._chat_user != user_id:
            self._chat_user = user_id
            self._chat = URL(f"{self._base}/codeapi/chat_auth").with_query(ft_token=user_id)
        return self._chat

    async def _post_chat(
        self, user_id: str, access_token: str, body: bytes
    ) -> aiohttp.ClientResponse:
        attempts = 2
        while True:
            attempts -= 1
            try:
                return await self._http.post(
                    self._chat_url(user_id),
                    data=io.BytesIO(body) if len(body) > _LARGE else body,
                    headers={
                        "Content-Type": "application/json",
                        "Authorization": f"Bearer {access_token}",
                    },
                    allow_redirects=False,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                # A pooled connection that the upstream had just closed; aiohttp repeats
                # only methods without a body. Nothing was answered, so once more is safe.
                if not attempts or isinstance(error, aiohttp.ClientConnectorError):
                    raise

    async def _call(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        bearer: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        sent = dict(headers or {})
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = msgspec.json.encode(body)
        try:
            async with (
                asyncio.timeout(self._timeouts.call),
                self._http.request(
                    method, url, data=data, headers=sent, allow_redirects=False
                ) as response,
            ):
                if not 200 <= response.status < 300:
                    raise status_error(response.status, _retry_after(response))
                return _object(await _read(response))
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error) from None


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


def translated(error: Exception) -> GatewayError:
    """What a failure of the connection means for a caller."""
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("Fitten did not answer in time; please try again.")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return UpstreamError("Fitten's TLS certificate is not trusted; see fitten.ca_file.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError("Fitten cannot be reached from the gateway; please try again.")
    return UpstreamError("The connection to Fitten broke; please try again.")


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds in a Retry-After header; dates are not honoured, the hour is the most."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), 3600.0) if value.isascii() and value.isdigit() else None
