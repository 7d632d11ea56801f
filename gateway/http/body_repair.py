"""Removes from bodies what is not quite JSON, where the meaning of the client is certain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from gateway.errors import InvalidRequest
from gateway.generation.surrogates import replace_half_characters
from gateway.middleware import RESPONSE_HEADERS

_Parsed = TypeVar("_Parsed")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors and .NET programs write it before UTF-8


def parse_repaired(request: web.Request, parse: Callable[[bytes], _Parsed], body: bytes) -> _Parsed:
    """Parse a body, and parse it again after a repair if it is not JSON.

    One half of an emoji would end a conversation: clients send it again in every request. A
    header of the answer says how many halves were replaced. Raises InvalidRequest.
    """
    try:
        return parse(body)
    except InvalidRequest as error:
        if error.code != "invalid_json":
            raise
        better, replaced = repaired(body)
        if better == body:
            raise
    parsed = parse(better)
    if replaced:
        request[RESPONSE_HEADERS]["x-fitten-replaced-characters"] = str(replaced)
    return parsed


def repaired(body: bytes) -> tuple[bytes, int]:
    """Return a body without a byte order mark and without halves of characters.

    Also returns how many halves were replaced. A body that needs no repair is returned as it is.
    """
    return replace_half_characters(body.removeprefix(_BYTE_ORDER_MARK))
