"""What a failure of the connection to Fitten means."""

from __future__ import annotations

import aiohttp

from gateway.errors import (
    GatewayError,
    UpstreamError,
    UpstreamTimeout,
)


def from_client_error(error: Exception) -> GatewayError:
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


def is_worth_repeating(error: Exception) -> bool:
    """Whether it may have been a pooled connection that the upstream had just closed.

    Nothing was answered then, so once more is safe; aiohttp itself repeats only methods
    without a body.
    """
    return not isinstance(error, aiohttp.ClientConnectorError)
