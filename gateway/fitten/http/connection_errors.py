"""Maps failures of the connection to Fitten to the errors of the gateway."""

from __future__ import annotations

import socket
import ssl

import aiohttp

from gateway.errors import (
    GatewayError,
    UpstreamError,
    UpstreamTimeout,
)
from gateway.redaction import os_error_text

# Other failures of the look-up of a name may go away by themselves.
_NO_SUCH_NAME = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA")}


def connection_error(error: Exception, *, proxied: bool = False) -> GatewayError:
    """Return the error for a failure of the connection.

    error: an aiohttp.ClientError, an OSError or a TimeoutError.
    proxied: whether the connection goes through a proxy.
    """
    translated = _translated(error)
    translated.detail = connection_detail(error, proxied=proxied)
    return translated


def _translated(error: Exception) -> GatewayError:
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


def connection_detail(error: Exception, *, proxied: bool = False) -> str:
    """Return what failed, for the log; see `connection_error`.

    No text of a library is shown: it may have the URL, which has the user's id. OpenSSL's texts
    have only the name of the host.
    """
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"proxy: status {error.status}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"proxy: {_connector_detail(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _connector_detail(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        # With a proxy, only its name is looked up.
        return f"{'proxy: ' if proxied else ''}{_name_detail(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _connector_detail(error.os_error)
    if isinstance(error, TimeoutError):
        no_connection = isinstance(error, aiohttp.ConnectionTimeoutError)
        return "no connection in time" if no_connection else "no answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "closed without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        below = error.__cause__
        return os_error_text(below) if isinstance(below, OSError) else "incomplete body"
    return os_error_text(error)


def _connector_detail(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}"
    if isinstance(error, ssl.CertificateError):
        return "TLS: the certificate is not for this host"
    return _name_detail(error) if isinstance(error, socket.gaierror) else os_error_text(error)


def _name_detail(error: OSError) -> str:
    found = error.__cause__ if isinstance(error.__cause__, socket.gaierror) else error
    return "name not found" if found.errno in _NO_SUCH_NAME else "name cannot be looked up"


def is_worth_repeating(error: Exception) -> bool:
    """Return whether the call may be sent once more, on a new connection.

    error: of a call that got no answer. The usual cause is that Fitten had just closed the
        pooled connection. Then sending the call again is safe; aiohttp itself repeats only
        methods without a body. A failure to open a connection is not repeated.
    """
    return not isinstance(error, aiohttp.ClientConnectorError)
