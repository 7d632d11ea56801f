"""Shows the accounts at Fitten, and pauses, resumes and logs them in."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.admin.api.call import AdminCall
from gateway.admin.api.resources.trail import record
from gateway.fitten.account_control import AccountState
from gateway.keys.errors import UnknownObject


class AccountList(msgspec.Struct, frozen=True):
    """Holds the accounts in the order of the configuration."""

    accounts: list[AccountState]


class PauseRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Says how long an account is to rest. seconds: None for until it is resumed."""

    seconds: Annotated[float, Meta(gt=0, le=366 * 86_400)] | None = None


async def list_accounts(call: AdminCall) -> AccountList:
    """Return the state of each account."""
    return AccountList(call.node.accounts.states())


async def pause_account(call: AdminCall) -> AccountState:
    """Pause an account: its open calls go on, and no new one begins."""
    name, body = _name(call), call.body
    call.node.accounts.pause(name, body.seconds, call.caller.name)
    await record(call, "account.pause", name, name, {"seconds": body.seconds})
    return _state(call, name)


async def resume_account(call: AdminCall) -> AccountState:
    """End the pause of an account."""
    name = _name(call)
    call.node.accounts.resume(name, call.caller.name)
    await record(call, "account.resume", name, name, {})
    return _state(call, name)


async def log_in_account(call: AdminCall) -> AccountState:
    """Make a new login, and wait for it. Its failure is the error of this request."""
    name = _name(call)
    await record(call, "account.login", name, name, {})
    await call.node.accounts.log_in(name, call.caller.name)
    return _state(call, name)


def _name(call: AdminCall) -> str:
    """Return the account of the path. Raises UnknownObject if there is none."""
    name = call.path["account"]
    if all(state.name != name for state in call.node.accounts.states()):
        raise UnknownObject("There is no account of this name.")
    return name


def _state(call: AdminCall, name: str) -> AccountState:
    for state in call.node.accounts.states():
        if state.name == name:
            return state
    raise UnknownObject("The account does not exist any more.")  # a reload came in between
