"""Reads the parameters and bodies of the admin API strictly: an unknown member is a mistake."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from gateway.apis.json_body import parse_object
from gateway.errors import BodyTimeout, BodyTooLarge, InvalidRequest, UnsupportedMediaType
from gateway.http.request_body import send_continue
from gateway.redaction import word

MAX_BODY = 256 * 1024  # bytes
_BODY_TIMEOUT = 30.0  # seconds
_MAX_IDEMPOTENCY_KEY = 200  # characters
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_VERSION = re.compile(r'"?([0-9]{1,15})"?')

_Message = TypeVar("_Message", bound=msgspec.Struct)


async def read_body(request: web.Request, kind: type[_Message]) -> _Message:
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


def read_query(request: web.Request, kind: type[_Message]) -> _Message:
    """Read the parameters of the address as a type. Raises InvalidRequest."""
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values:
            raise _fault(name, f"The parameter '{word(name)}' is given twice.")
        values[name] = value
    return strict(values, kind, texts=True)


def strict(value: Mapping[str, Any], kind: type[_Message], *, texts: bool = False) -> _Message:
    """Convert an object to a type whose struct forbids unknown members.

    texts: whether all values are texts, so that `5` is a number as well.
    Raises InvalidRequest that names the member which is wrong.
    """
    try:
        return msgspec.convert(value, kind, strict=not texts)
    except msgspec.ValidationError as error:
        what, found, path = str(error).rpartition(" - at `$")
        if not found:
            what, path = str(error), ""
        path = path.removesuffix("`").lstrip(".")
    # The text may quote a member's name, but no value.
    if match := _UNKNOWN.fullmatch(what):
        path = f"{path}.{word(match[1])}".lstrip(".")
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        more = f" Known: {known}." if "." not in path and known else ""
        raise _fault(path, f"There is no member '{path}'.{more}")
    if match := _MISSING.fullmatch(what):
        path = f"{path}.{match[1]}".lstrip(".")
        raise _fault(path, f"'{path}' is missing.", code="missing_required_parameter")
    if what.startswith("Invalid enum value"):  # it quotes what was sent
        what = "not one of the allowed values"
    raise _fault(path, f"'{path}' is wrong: {what[:1].lower()}{what[1:300]}.")


def read_version(request: web.Request) -> int | None:
    """Return the version in `If-Match`, as in `ETag`; None without the header, and for `*`."""
    given = request.headers.get("If-Match", "*").strip()
    if given == "*":
        return None
    match = _VERSION.fullmatch(given)
    if match is None:
        raise _fault("If-Match", 'If-Match must be the version of the record, such as "3".')
    return int(match[1])


def read_idempotency_key(request: web.Request) -> str | None:
    """Return the header `Idempotency-Key`, or None."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not 0 < len(given) <= _MAX_IDEMPOTENCY_KEY or not given.isprintable():
        raise _fault(
            "Idempotency-Key",
            f"Idempotency-Key must have 1 to {_MAX_IDEMPOTENCY_KEY} printable characters.",
        )
    return given


def _fault(param: str, message: str, *, code: str = "invalid_value") -> InvalidRequest:
    return InvalidRequest(message, code=code, param=param)


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"The body is over the limit of {MAX_BODY} bytes.")
