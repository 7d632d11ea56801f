"""Converts errors of the gateway to records that can be sent, and back."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import errors
from gateway.errors import GatewayError


class ErrorRecord(msgspec.Struct, frozen=True, array_like=True):
    """Holds a GatewayError in a form that can be sent. kind: the name of its class."""

    kind: str
    message: str
    code: str | None
    param: str | None
    retry_after: float | None
    retryable: bool
    elsewhere: bool
    upstream_status: int | None
    detail: str | None


def error_record(error: GatewayError) -> ErrorRecord:
    """Convert an error to a record that can be sent."""
    return ErrorRecord(
        type(error).__name__,
        error.message,
        error.code,
        error.param,
        error.retry_after,
        error.retryable,
        error.elsewhere,
        error.upstream_status,
        error.detail,
    )


def error_from_record(failure: ErrorRecord) -> GatewayError:
    """Rebuild the error from a record; an unknown kind becomes a GatewayError."""
    kind: Any = getattr(errors, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, GatewayError)):
        kind = GatewayError
    error: GatewayError = kind.__new__(kind)
    GatewayError.__init__(
        error,
        failure.message,
        param=failure.param,
        retry_after=failure.retry_after,
        retryable=failure.retryable,
        elsewhere=failure.elsewhere,
    )
    error.code = failure.code
    error.upstream_status, error.detail = failure.upstream_status, failure.detail
    return error
