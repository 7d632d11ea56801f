"""Maps failed calls to Fitten to the errors of the gateway. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.errors import (
    GatewayError,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)

_MAX_RETRY_AFTER = 300.0  # seconds; a longer wait is not believed

# Details of failed logins, for the log.
_REFUSED = "user name or password refused"
_WRONG_PLACE = "no answer of a login; wrong address or a proxy?"


def login_status_error(status: int, retry_after: float | None = None) -> GatewayError:
    """Return the error for an HTTP status of the login.

    Only 401 and 403 mean that the account is refused (protocol 2.2 F-b). Any other status,
    such as a redirect or 404, may come from a wrong address or a proxy. Such a login is tried
    again like after any temporary fault, since the account may be fine.
    """
    error = status_error(status, retry_after)
    if error.retryable:
        return error
    refused = (
        UpstreamUnauthorized("Fitten refuses the login.")
        if status in (401, 403)
        else _unexpected_login_answer(f"status {status}")
    )
    refused.upstream_status = status
    refused.detail = _REFUSED if isinstance(refused, UpstreamUnauthorized) else _WRONG_PLACE
    return refused


def login_object_error(error: GatewayError) -> GatewayError:
    """Return the error for an error object that the login answered with status 200.

    Fitten refuses a user name or password that way (protocol 2.2 F-a). Any error number
    counts as a refusal, except those of failures of the server.

    error: what `error_object` returned.
    """
    if error.retryable:
        return error
    refused = UpstreamUnauthorized("Fitten refuses the login.")
    refused.upstream_status, refused.detail = error.upstream_status, _REFUSED
    return refused


def retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After header, at most 300; None for a date or no number."""
    return min(float(value), _MAX_RETRY_AFTER) if value.isascii() and value.isdigit() else None


def _unexpected_login_answer(what: str) -> GatewayError:
    return UpstreamError(
        f"Fitten's login cannot be used at the moment ({what}). If that lasts, the operator of "
        "this gateway should check fitten.base_url in its configuration."
    )


def error_object(member: dict[str, Any]) -> GatewayError | None:
    """Return the error that a JSON object from Fitten stands for, if any (trap 11)."""
    status = member.get("status_code")
    if type(status) is not int:
        status = None
    elif status == 0 or 200 <= status < 300:
        return None
    if status is None and not (member.get("detail") or member.get("error")):
        parts_of_answers = ("delta", "usage", "tracedata")
        if not member.get("msg") or any(name in member for name in parts_of_answers):
            return None
    return status_error(status or 500)


def status_error(status: int, retry_after: float | None = None) -> GatewayError:
    """Return the error for an HTTP status of Fitten other than 200.

    retry_after: seconds that Fitten asks to wait after 429.
    """
    error = _status_error(status, retry_after)
    error.upstream_status = status
    return error


def _status_error(status: int, retry_after: float | None) -> GatewayError:
    if status == 401:
        return UpstreamUnauthorized("Fitten does not accept the gateway's session.")
    if status == 413:
        return UpstreamError("Fitten refuses a prompt of this size.", retryable=False)
    if status == 429:
        return RateLimited(
            "Fitten limits the rate of requests at the moment; please try again later.",
            code="upstream_rate_limited",
            retry_after=retry_after,
            elsewhere=True,
        )
    if status == 504:
        return UpstreamTimeout("Fitten did not answer in time; please try again.", elsewhere=True)
    if status < 500:
        return UpstreamError(
            f"Fitten refused the request (status {status}).",
            retryable=False,
            elsewhere=status == 403,  # this account may be banned, another one works
        )
    return UpstreamError(
        "Fitten reports an error of its own; please try again.", elsewhere=status in (502, 503)
    )


def truncated_error() -> UpstreamError:
    """Return the error for an answer that ended too early."""
    return UpstreamError(
        "Fitten's answer broke off before its end; please try again.", code="upstream_truncated"
    )
