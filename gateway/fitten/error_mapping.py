"""What a failed call to Fitten means, in the gateway's own kinds of error. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.errors import (
    GatewayError,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)


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


def error_object(member: dict[str, Any]) -> GatewayError | None:
    """The error that a JSON object of the upstream's stands for, if any (trap 11)."""
    status = member.get("status_code")
    if type(status) is not int:
        status = None
    elif status == 0 or 200 <= status < 300:
        return None
    alone = not any(name in member for name in ("delta", "usage", "tracedata"))
    if (
        status is None
        and not member.get("detail")
        and not member.get("error")
        and not (alone and member.get("msg"))
    ):
        return None
    return status_error(status or 500)


def status_error(status: int, retry_after: float | None = None) -> GatewayError:
    """What an HTTP status of the upstream's other than 200 means for a caller."""
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
            elsewhere=status == 403,  # what a banned account gets
        )
    return UpstreamError(
        "Fitten reports an error of its own; please try again.", elsewhere=status in (502, 503)
    )


def truncated_error() -> UpstreamError:
    """The answer broke off."""
    return UpstreamError(
        "Fitten's answer broke off before its end; please try again.", code="upstream_truncated"
    )
