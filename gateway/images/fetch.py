"""Fetches images that a request names by URL, from public addresses only.

Each IP address is checked when the connection is made, for every host name and redirect. A
check of the URL before that is not safe: a host name can change its address. Off unless the
operator turns it on.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
from yarl import URL

from gateway.config.settings import ImageSettings
from gateway.errors import InvalidRequest
from gateway.generation.request import Image, Message, RemoteImage
from gateway.images.sniff import ImageLimits, image_from_bytes

AddressFilter = Callable[[str], bool]

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_MAX_PARALLEL = 4  # images of one request that are fetched at the same time
_MAX_IMAGES = 16

# Networks that the standard library calls global, but that are not public, or lead to others.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",
        "ff00::/8",
        "fec0::/10",
    )
)
_NAT64 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))


def is_public(address: str) -> bool:
    """Return whether an IP address is public, and does not stand for one that is not.

    IPv6 addresses that contain an IPv4 address (mapped, 6to4, NAT64) are judged by that.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and any(ip in network for network in _NAT64):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is None and not any(ip.packed[:12]):
            inner = ipaddress.IPv4Address(ip.packed[12:])  # deprecated form: ::127.0.0.1
        if inner is None and ip.teredo is not None:
            return False
        if inner is not None:
            return is_public(str(inner))
    refused = any(ip.version == network.version and ip in network for network in _REFUSED_NETWORKS)
    return ip.is_global and not ip.is_multicast and not refused


class ImageFetcher:
    """Fetches the remote images of messages; usable inside `async with images.open()`.

    allowed: returns whether an IP address may be connected to. Tests allow loopback.
    """

    def __init__(self, settings: ImageSettings, *, allowed: AddressFilter = is_public) -> None:
        self._settings = settings
        self._limits = ImageLimits(settings.max_bytes, settings.max_pixels)
        self._allowed = allowed
        self._http: aiohttp.ClientSession

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open an HTTP session without cookies, proxy and credentials that decompresses nothing."""
        connector = aiohttp.TCPConnector(
            limit=32, force_close=True, socket_factory=self._socket, use_dns_cache=False
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={"Accept": "image/*", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
        ) as self._http:
            yield

    async def fetched(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return the messages with their remote images fetched.

        Raises InvalidRequest when fetching is turned off, when there are more than 16 images,
        or when one cannot be fetched or is not allowed.
        """
        wanted = [i for m in messages for i in m.images if isinstance(i, RemoteImage)]
        if not wanted:
            return tuple(messages)
        if not self._settings.remote:
            raise InvalidRequest(
                "This gateway does not fetch images; send the image itself as a data URL.",
                code="invalid_image_url",
                param=wanted[0].param,
            )
        if len(wanted) > _MAX_IMAGES:
            raise InvalidRequest(
                f"A request may have at most {_MAX_IMAGES} images that are fetched.",
                code="invalid_image_url",
                param=wanted[_MAX_IMAGES].param,
            )
        found = await self._fetch_all(wanted)
        return tuple(
            replace(m, images=tuple(found.get(i, i) if _is_remote(i) else i for i in m.images))
            for m in messages
        )

    async def _fetch_all(self, wanted: Sequence[RemoteImage]) -> dict[Any, Image]:
        parallel = asyncio.Semaphore(_MAX_PARALLEL)

        async def one(image: RemoteImage) -> Image:
            async with parallel:
                return await self._fetch_one(image)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {image: group.create_task(one(image)) for image in wanted}
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return {image: task.result() for image, task in tasks.items()}

    async def _fetch_one(self, image: RemoteImage) -> Image:
        try:
            async with asyncio.timeout(self._settings.timeout):
                raw = await self._read(image)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = "in time" if isinstance(error, TimeoutError) else "from its address"
            raise _failed(f"The image could not be fetched {reason}.", image) from None
        return image_from_bytes(raw, self._limits, image.param)

    async def _read(self, image: RemoteImage) -> bytes:
        url = URL(image.url)
        for _ in range(1 + _MAX_REDIRECTS):
            self._check_url(url, image)
            async with self._http.get(url, allow_redirects=False) as response:
                if response.status in _REDIRECTS:
                    url = url.join(URL(response.headers.get("Location", "")))
                    continue
                if response.status != 200 or "Content-Encoding" in response.headers:
                    raise _failed("There is no image at the image's address.", image)
                return await self._read_body(response, image)
        raise _failed("The image's address redirects too often.", image)

    def _check_url(self, url: URL, image: RemoteImage) -> None:
        secure = url.scheme == "https" or (url.scheme == "http" and self._settings.remote_http)
        if not secure or not url.host or url.user is not None or url.password is not None:
            raise _failed("An image's address must be a plain https:// URL.", image)

    async def _read_body(self, response: aiohttp.ClientResponse, image: RemoteImage) -> bytes:
        most = self._limits.max_bytes
        parts, size = [], 0
        async for part in response.content.iter_chunked(64 * 1024):
            size += len(part)
            if size > most:
                raise InvalidRequest(
                    f"The image is over {most} bytes. Scale it down.",
                    code="image_too_large",
                    param=image.param,
                )
            parts.append(part)
        return b"".join(parts)

    def _socket(self, info: Any) -> socket.socket:
        """Make the socket for an address; the connector calls this before each connection."""
        family, kind, protocol, _, address = info
        if not self._allowed(address[0]):
            raise OSError("images are not fetched from this address")
        return socket.socket(family, kind, protocol)


def _is_remote(image: Image | RemoteImage) -> bool:
    return isinstance(image, RemoteImage)


def _failed(message: str, image: RemoteImage) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_image_url", param=image.param)
