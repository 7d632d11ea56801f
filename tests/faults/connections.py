"""Addresses to which no good connection leads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import aiohttp
import pytest


@contextmanager
def broken_address(kind: str, good_port: int, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A URL at which connecting fails as `kind` says: refused, dns, tls, untrusted or hang."""
    if kind in ("tls", "untrusted"):
        yield f"https://127.0.0.1:{good_port}"  # where nobody speaks TLS, or not as they should
        return
    if kind == "dns":
        patch.setattr(aiohttp.ThreadedResolver, "resolve", _not_found)
        patch.setattr(aiohttp.connector, "DefaultResolver", aiohttp.ThreadedResolver)
        yield "http://fitten.invalid"
        return
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
        if kind == "hang":
            # Once its queue is full, the kernel does not answer.
            listener.listen(0)
            for _ in range(3):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"


async def _not_found(*_: Any, **__: Any) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "made up")
