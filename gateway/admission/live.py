"""Lists the admitted requests of a process that have not ended, and ends one of them."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any, Protocol

import msgspec
import structlog
from aiohttp import web

from gateway.errors import Unavailable
from gateway.ledger.row import Began
from gateway.limits.names import Kind
from gateway.middleware import OUTCOME, REQUEST_ID, principal_of

_log = structlog.get_logger("admission")

MOST_LISTED = 1000
"""How many requests a list has at most: the oldest ones."""


class LiveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a request that is being served.

    id: that of its row in the ledger. request_id: the one in the header `x-request-id`.
    at: when it was admitted, in milliseconds since 1970.
    key, team: their names when it was admitted; empty without one. key_id: of a key made at
        run time, which keeps it under another name; else empty.
    route: chat, completion, fim or infill.
    account: the account that serves it; empty while it waits for a slot.
    answering: whether the first piece of the answer has come.
    bytes: those of a stream that were sent so far; 0 of an answer that is sent whole.
    """

    id: str
    request_id: str
    at: int
    key: str
    key_id: str
    team: str
    model: str
    route: str
    stream: bool
    account: str
    answering: bool
    bytes: int


class Admitted(msgspec.Struct, frozen=True, eq=False):
    """Holds what the end of an admitted request needs to know.

    row_id: names the claim and the row. estimated: whether an answer of some length was expected.
    began: what the ledger was told; None without one.
    at: when it was admitted, in milliseconds since 1970. route: as the ledger has it.
    stream: whether the answer is streamed. task: what runs the request.
    """

    row_id: str
    model: str
    kind: Kind
    estimated: bool
    began: Began | None
    at: int
    route: str
    stream: bool
    task: asyncio.Task[Any] | None


class Sending(Protocol):
    """Describes a stream that is being sent."""

    bytes_sent: int


ADMITTED = web.RequestKey("admitted", Admitted)
SENDING = web.RequestKey[Sending]("sending")
"""The stream that answers the request; absent until it exists, and for whole answers."""


class LiveRequests:
    """Holds the admitted requests of one process; they outlive a reload.

    The admission adds and removes them itself, without a call. What a list shows is read from a
    request when somebody asks, so that no piece of an answer costs anything.

    requests: by the id of the row. ended: the ids of those that `end` has cancelled.
    """

    def __init__(self) -> None:
        self.requests: dict[str, web.Request] = {}
        self.ended: set[str] = set()

    def snapshot(self) -> list[LiveRequest]:
        """Return the requests, the oldest first, so many as `MOST_LISTED` at most."""
        return [_described(request) for request in islice(self.requests.values(), MOST_LISTED)]

    def end(self, row_id: str, by: str) -> bool:
        """End a request with an error that says so; return whether it was there.

        by: who does it, for the log. A second call for the same request changes nothing.
        """
        request = self.requests.get(row_id)
        if request is None:
            return False
        admitted = request[ADMITTED]
        if row_id not in self.ended and admitted.task is not None:
            self.ended.add(row_id)
            principal = principal_of(request)
            _log.warning(
                "request_ended_by_admin",
                by=by,
                row=row_id,
                request_id=request.get(REQUEST_ID, ""),
                key=None if principal is None else principal.name,
            )
            admitted.task.cancel()
        return True

    def was_ended(self, request: web.Request) -> bool:
        """Return whether `end` has cancelled a request that has not been settled since."""
        admitted = request.get(ADMITTED)
        return admitted is not None and admitted.row_id in self.ended


def ended_error() -> Unavailable:
    """Return the error of a request that was ended by an admin."""
    return Unavailable(
        "An administrator of this gateway ended this request.",
        code="ended_by_admin",
        retryable=False,
    )


def _described(request: web.Request) -> LiveRequest:
    admitted, outcome = request[ADMITTED], request[OUTCOME]
    principal = principal_of(request)
    sending = request.get(SENDING)
    return LiveRequest(
        id=admitted.row_id,
        request_id=request.get(REQUEST_ID, ""),
        at=admitted.at,
        key="" if principal is None else principal.name,
        key_id="" if principal is None else principal.key_id,
        team="" if principal is None else principal.team or "",
        model=admitted.model,
        route=admitted.route,
        stream=admitted.stream,
        account=outcome.account or "",
        answering=outcome.first_piece is not None,
        bytes=0 if sending is None else sending.bytes_sent,
    )
