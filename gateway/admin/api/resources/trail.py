"""Adds to the audit what is done beside the store: to accounts, open requests and exports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from gateway.admin.api.call import AdminCall
from gateway.keys.changes import Actor
from gateway.keys.errors import StoreUnavailable

_log = structlog.get_logger("admin")


async def record(
    call: AdminCall,
    action: str,
    object_id: str,
    name: str,
    change: Mapping[str, Any] | None = None,
    *,
    required: bool = False,
) -> None:
    """Add a row, if there is a store. change: the new value of each field.

    required: whether to raise StoreUnavailable if it cannot be written. Else the log says so:
    a full disk must not keep an admin from ending a request.
    """
    if call.work is None:
        return
    caller = call.caller
    actor = Actor(caller.name, caller.address, call.request_id, caller.key_id or "")
    fields = {field: (None, value) for field, value in (change or {}).items() if value is not None}
    try:
        await call.work.read(lambda keys: keys.record(actor, action, object_id, name, fields))
    except StoreUnavailable:
        if required:
            raise
        _log.error("audit_not_written", action=action, by=caller.name, object=name)
