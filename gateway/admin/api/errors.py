"""Defines the errors that only the admin API has; they are rendered as all others."""

from __future__ import annotations

from gateway.errors import GatewayError, InvalidRequest, NotAllowed
from gateway.keys.errors import ChangeConflict


class NoStore(ChangeConflict):
    """Reports that a request needs a store, and the gateway runs without one."""

    code = "no_store"

    def __init__(self) -> None:
        super().__init__(
            "This gateway runs without a store. Set 'store: {url: \"sqlite:///team.db\"}' in its "
            "configuration, and restart it."
        )


class Forbidden(NotAllowed):
    """Reports that the caller is known, but must not do this with the admin API."""

    code = "forbidden"


class WrongHost(InvalidRequest):
    """Reports that the Host header is not one of this admin API: another site may be behind it."""

    status = 421
    code = "wrong_host"


class NoAdminKey(GatewayError):
    """Reports that nobody can come in over TCP, since there is no admin key yet."""

    status = 503
    code = "no_admin_key"
    retryable = False
