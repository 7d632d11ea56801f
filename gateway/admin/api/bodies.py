"""Reads the parameters and bodies of the admin API strictly: an unknown member is a mistake."""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from gateway.admin.api.messages import Message, fault_of, strict
from gateway.apis.json_body import parse_object
from gateway.errors import BodyTimeout, BodyTooLarge, InvalidRequest, UnsupportedMediaType
from gateway.http.request_body import send_continue
from gateway.redaction import word

MAX_BODY = 256 * 1024  # bytes
# seconds; short, since a login needs no key, and slow ones would use up the connections
_BODY_TIMEOUT = 10.0
_MAX_IDEMPOTENCY_KEY = 200  # characters
_VERSION = re.compile(r'"?([0-9]{1,15})"?')


async def read_body(request: web.Request, kind: type[Message]) -> Message:
    """Read a JSON body of a type. Raises InvalidRequest or one of its kinds.

    An absent body is an empty object.
    """
    if (request.content_length or 0) > MAX_BODY:
        raise _too_large()
    await send_continue(request)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            while part := await request.content.readany():
                parts.append(part)
                size += len(part)
                if size > MAX_BODY:
                    raise _too_large()
    except TimeoutError:
        raise BodyTimeout("The body did not arrive in time.") from None
    except web.RequestPayloadError:
        raise InvalidRequest("The body's transfer encoding is broken.") from None
    if not size:
        return strict({}, kind)
    # Pages of other sites can send forms and plain text without asking first, but no JSON.
    if request.content_type != "application/json":
        raise UnsupportedMediaType("The body must be JSON: send 'Content-Type: application/json'.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")
    return strict(parse_object(b"".join(parts)), kind)


def read_query(request: web.Request, kind: type[Message]) -> Message:
    """Read the parameters of the address as a type. Raises InvalidRequest."""
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values:
            raise fault_of(name, f"The parameter '{word(name)}' is given twice.")
        values[name] = value
    return strict(values, kind, texts=True)


def read_version(request: web.Request) -> int | None:
    """Return the version in `If-Match`, as in `ETag`; None without the header, and for `*`."""
    given = request.headers.get("If-Match", "*").strip()
    if given == "*":
        return None
    match = _VERSION.fullmatch(given)
    if match is None:
        raise fault_of("If-Match", 'If-Match must be the version of the record, such as "3".')
    return int(match[1])


def read_idempotency_key(request: web.Request) -> str | None:
    """Return the header `Idempotency-Key`, or None."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not 0 < len(given) <= _MAX_IDEMPOTENCY_KEY or not given.isprintable():
        raise fault_of(
            "Idempotency-Key",
            f"Idempotency-Key must have 1 to {_MAX_IDEMPOTENCY_KEY} printable characters.",
        )
    return given


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"The body is over the limit of {MAX_BODY} bytes.")
