"""Defines the errors that only the admin API has; they are rendered as all others."""

from __future__ import annotations

from gateway.errors import GatewayError, InvalidRequest


class NoStore(InvalidRequest):
    """Reports that a request needs a store, and the gateway runs without one."""

    status = 409
    code = "no_store"

    def __init__(self) -> None:
        super().__init__(
            "This gateway runs without a store. Set 'store: {url: \"sqlite:///team.db\"}' in its "
            "configuration, and restart it."
        )


class Forbidden(InvalidRequest):
    """Reports that the caller is known, but must not do this."""

    status = 403
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


class StoreUnavailable(GatewayError):
    """Reports that the store cannot be read or written now."""

    status = 503
    code = "store_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The store cannot be used at the moment, and nothing has changed; the log of the "
            "gateway says why.",
            retry_after=5.0,
        )
