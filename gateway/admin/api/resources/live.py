"""Shows the requests that are open now, and ends one."""

from __future__ import annotations

import msgspec

from gateway.admin.api.call import AdminCall
from gateway.admin.api.resources.trail import record
from gateway.admission.live import MOST_LISTED, LiveRequest
from gateway.keys.errors import UnknownObject


class LiveList(msgspec.Struct, frozen=True):
    """Holds open requests, the oldest first. complete: whether there are no others."""

    requests: list[LiveRequest]
    complete: bool


async def list_live(call: AdminCall) -> LiveList:
    """Return the open requests of all processes."""
    found = await call.node.live()
    return LiveList(found[:MOST_LISTED], len(found) < MOST_LISTED)


async def end_requests_of(call: AdminCall, key_id: str) -> int:
    """End all open requests of a key made at run time; return how many there were."""
    count = 0
    for request in await call.node.live():
        if request.key_id == key_id and await call.node.end(request.id, call.caller.name):
            await record(call, "request.end", request.id, request.id, {})
            count += 1
    return count


async def end_live(call: AdminCall) -> None:
    """End an open request; its client gets the error `ended_by_admin`."""
    row_id = call.path["request"]
    if not await call.node.end(row_id, call.caller.name):
        raise UnknownObject("There is no open request of this id; it may have ended meanwhile.")
    await record(call, "request.end", row_id, row_id, {})
