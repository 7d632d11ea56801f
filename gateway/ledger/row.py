"""Defines what a process writes about a request: when it is admitted, and when it has ended.

No field may hold a prompt, a text of an answer, an address or a secret. docs/privacy.md has
every field; a test compares it with this file.
"""

from __future__ import annotations

import itertools
import secrets
import time
from typing import Final, TypeAlias, get_args

import msgspec

from gateway.errors import Cause

CRASHED: Final = "crashed"
"""How a request ended whose process was killed before it could write the row."""

ENDS: Final = ("complete", CRASHED, *get_args(Cause))
"""Every way in which a request can end; `ended` of a row is one of them."""

ABORTED: Final = ("client_closed_request", "superseded")
"""The ends that are nobody's failure: the client left, or its editor sent a newer request."""


class Began(
    msgspec.Struct, tag="began", tag_field="line", omit_defaults=True, frozen=True, gc=False
):
    """Says that a request was admitted.

    id: 32 hexadecimal digits, made by the gateway: see `new_row_id`.
    request_id: the id in the header `x-request-id`, which the client may choose.
    at: the time of the admission, in milliseconds since 1970 (UTC).
    day: the local day then, such as `2026-11-28`.
    key, team: their names; empty without one.
    source: where the key is defined.
    route: chat, completion, fim or infill.
    prompt_tokens: an estimate, which counts if the process is killed.
    key_id, team_id: ids of a key and of a team made at run time, which names may leave; else empty.
    """

    id: str
    at: int
    day: str
    request_id: str = ""
    key: str = ""
    team: str = ""
    source: str = "config"
    model: str = ""
    route: str = ""
    stream: bool = False
    prompt_tokens: int = 0
    node: str = ""
    key_id: str = ""
    team_id: str = ""


class LedgerRow(
    msgspec.Struct, tag="ended", tag_field="line", omit_defaults=True, frozen=True, gc=False
):
    """Says how a request ended; the first fields are those of `Began`.

    status: the status that the client got; None if it is not known.
    ended: one of `ENDS`. cause: why it failed; None if it did not.
    refused: whether it was not admitted, so that nothing was used.
    usage_source: whether the tokens are `upstream`'s, `estimated`, or `none`.
    queued_ms, first_ms, duration_ms: the wait for a slot, the time to the first piece, all of it.
    tries: how many calls to Fitten it took.
    account: the account that was used last; for the operator only.
    bytes: the size of the answer's body.
    client: the family of the user agent.
    """

    id: str
    at: int
    day: str
    request_id: str = ""
    key: str = ""
    team: str = ""
    source: str = "config"
    model: str = ""
    route: str = ""
    stream: bool = False
    status: int | None = None
    ended: str = "complete"
    cause: str | None = None
    refused: bool = False
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    usage_source: str = "none"
    queued_ms: int = 0
    first_ms: int | None = None
    duration_ms: int = 0
    tries: int = 0
    account: str = ""
    node: str = ""
    bytes: int = 0
    client: str = ""
    key_id: str = ""
    team_id: str = ""


class LostRows(
    msgspec.Struct, tag="lost", tag_field="line", omit_defaults=True, frozen=True, gc=False
):
    """Says how many rows of a day and a key could not be written.

    ids: those of them of which `Began` was written, so that they do not count as crashed.
    """

    day: str
    key: str
    count: int
    ids: list[str] = []


SpoolLine: TypeAlias = Began | LedgerRow | LostRows

_BEGAN: Final = b'{"line":"began","id":"'
_ENDED: Final = b'{"line":"ended","id":"'
_ID: Final = slice(len(_BEGAN), len(_BEGAN) + 32)

_PROCESS: Final = secrets.token_hex(6)
_numbers = itertools.count()

encode_line: Final = msgspec.json.Encoder().encode
decode_line: Final = msgspec.json.Decoder(SpoolLine).decode


def id_of_began(raw: bytes) -> bytes:
    """Return the id in a line of a `Began`, without reading it; empty for any other line."""
    return raw[_ID] if raw.startswith(_BEGAN) else b""


def id_of_ended(raw: bytes) -> bytes:
    """Return the id in a line of a `LedgerRow`, without reading it; empty for any other line."""
    return raw[_ID] if raw.startswith(_ENDED) else b""


def new_row_id(at: int | None = None) -> str:
    """Return a new id of a row. Ids of clients and of Fitten repeat, so neither is used.

    It begins with the time: in the index of ids, new rows are then beside each other. Random ids
    would make each row of a batch change another page of a large database. A random part of the
    process and a count follow.

    at: the time, in milliseconds since 1970, if it is known already.
    """
    at = time.time_ns() // 1_000_000 if at is None else at
    return f"{at:012x}{_PROCESS}{next(_numbers) & 0xFFFFFFFF:08x}"


def crashed(began: Began) -> LedgerRow:
    """Return the row of a request whose process was killed: the prompt counts as used."""
    return LedgerRow(
        id=began.id,
        at=began.at,
        day=began.day,
        request_id=began.request_id,
        key=began.key,
        team=began.team,
        source=began.source,
        model=began.model,
        route=began.route,
        stream=began.stream,
        ended=CRASHED,
        prompt_tokens=began.prompt_tokens,
        usage_source="estimated" if began.prompt_tokens else "none",
        node=began.node,
        key_id=began.key_id,
        team_id=began.team_id,
    )
