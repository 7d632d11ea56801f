"""Maps failures of the connection to Fitten to the errors of the gateway."""

from __future__ import annotations

import aiohttp

from gateway.errors import (
    GatewayError,
    UpstreamError,
    UpstreamTimeout,
)


def connection_error(error: Exception) -> GatewayError:
    """Return the error for a failure of the connection.

    error: an aiohttp.ClientError, an OSError or a TimeoutError.
    """
    if isinstance(error, TimeoutError):
        nothing_sent = isinstance(error, aiohttp.ConnectionTimeoutError)
        return UpstreamTimeout(
            "Fitten did not answer in time; please try again.", elsewhere=nothing_sent
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return UpstreamError("Fitten's TLS certificate is not trusted; see fitten.ca_file.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError(
            "Fitten cannot be reached from the gateway; please try again.", elsewhere=True
        )
    return UpstreamError("The connection to Fitten broke; please try again.")


def is_worth_repeating(error: Exception) -> bool:
    """Return whether the call may be sent once more, on a new connection.

    error: of a call that got no answer. The usual cause is that Fitten had just closed the
        pooled connection. Then sending the call again is safe; aiohttp itself repeats only
        methods without a body. A failure to open a connection is not repeated.
    """
    return not isinstance(error, aiohttp.ClientConnectorError)
