"""What a failed call to Fitten means, in the gateway's own kinds of error. No I/O."""

from __future__ import annotations

import aiohttp

from gateway.errors import GatewayError, UpstreamError, UpstreamTimeout, UpstreamUnauthorized
from gateway.fitten.chat.decoder import status_error


def translated(error: Exception) -> GatewayError:
    """What a failure of the connection means for a caller."""
    if isinstance(error, TimeoutError):
        unasked = isinstance(error, aiohttp.ConnectionTimeoutError)
        return UpstreamTimeout(
            "Fitten did not answer in time; please try again.", elsewhere=unasked
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return UpstreamError("Fitten's TLS certificate is not trusted; see fitten.ca_file.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError(
            "Fitten cannot be reached from the gateway; please try again.", elsewhere=True
        )
    return UpstreamError("The connection to Fitten broke; please try again.")


def worth_repeating(error: Exception) -> bool:
    """Whether it may have been a pooled connection that the upstream had just closed.

    Nothing was answered then, so once more is safe; aiohttp itself repeats only methods
    without a body.
    """
    return not isinstance(error, aiohttp.ClientConnectorError)


def login_status_error(status: int, retry_after: float | None = None) -> GatewayError:
    """What an HTTP status of the login means.

    Only 401 and 403 speak of the account (protocol 2.2 F-b). Every other one, a redirect or a
    404 say, is what a wrong address or a proxy on the way answers, and is tried again like
    any passing fault: an account must not be given up for it.
    """
    if status in (401, 403):
        return UpstreamUnauthorized("Fitten refuses the login.")
    error = status_error(status, retry_after)
    return error if error.retryable else _strange_login(f"status {status}")


def login_object_error(error: GatewayError) -> GatewayError:
    """What an error object that came with a good status means, at the login.

    That is how Fitten itself refuses a name or password (protocol 2.2 F-a); any number but one
    of the server's own failures is taken for it.
    """
    return error if error.retryable else UpstreamUnauthorized("Fitten refuses the login.")


def retry_after(value: str) -> float | None:
    """Seconds in a Retry-After header; dates are not honoured, the hour is the most."""
    return min(float(value), 3600.0) if value.isascii() and value.isdigit() else None


def _strange_login(what: str) -> GatewayError:
    return UpstreamError(
        f"Fitten's login cannot be used at the moment ({what}); if that lasts, the operator of "
        "this gateway should look at fitten.base_url in its configuration."
    )
