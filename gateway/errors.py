"""Defines the errors that clients get, independent of any dialect.

An error has an HTTP status, a code and a sentence that says what to do. `apis/` renders it
as the body of a dialect, `http/error_handler` as an answer. The statuses and codes are those
that OpenAI's SDKs act on.
"""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

# Every cause for which a request can fail: a closed list, so that counts by cause have a
# bounded number of series. The list of causes and the codes of errors share their names.
Cause = Literal[
    "client_closed_request",
    "concurrency_limit_exceeded",
    "context_length_exceeded",
    "draining",
    "ended_by_admin",
    "image_too_large",
    "insufficient_quota",
    "internal_error",
    "invalid_api_key",
    "invalid_image_url",
    "invalid_json",
    "invalid_request",
    "invalid_type",
    "key_blocked",
    "method_not_allowed",
    "missing_required_parameter",
    "model_not_allowed",
    "model_not_found",
    "no_account_available",
    "not_found",
    "rate_limit_exceeded",
    "request_timeout",
    "request_too_large",
    "response_not_found",
    "route_not_allowed",
    "server_is_overloaded",
    "superseded",
    "thread_not_found",
    "unsupported_media_type",
    "unsupported_value",
    "upstream_empty",
    "upstream_error",
    "upstream_invalid_response",
    "upstream_rate_limited",
    "upstream_repetition",
    "upstream_timeout",
    "upstream_too_long",
    "upstream_truncated",
]
# Official SDKs sleep as long as Retry-After says, some without a limit. For a longer wait they get
# no Retry-After and are asked not to retry (wire rule 11).
MAX_RETRY_AFTER = 60.0  # seconds

_CAUSES: dict[str | None, Cause] = {cause: cause for cause in get_args(Cause)}


class GatewayError(Exception):
    """Reports a failure to a client.

    message: one sentence for a person; never upstream text, tokens or internals.
    code: the machine-readable name of the error, or None.
    param: the path of the wrong field, e.g. `messages[0].content`.
    retry_after: seconds after which a retry makes sense; None when unknown.
    retryable: whether the official SDKs should retry by themselves.
    elsewhere: whether another account may be asked at once, because the failed request had
        no effect on its account.
    upstream_status: the status that Fitten reported; None when there was none.
    detail: what failed below, such as the system's name of an error; for the log, never for
        clients.
    default_cause: the cause of errors whose code is not in the list of causes.
    """

    status = 500
    code: str | None = "internal_error"
    default_cause: Cause = "internal_error"
    retryable = True
    elsewhere = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        elsewhere: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.upstream_status: int | None = None
        self.detail: str | None = None
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable
        if elsewhere is not None:
            self.elsewhere = elsewhere

    @property
    def cause(self) -> Cause:
        """Return the cause, for counts and logs: the code, if it is in the list of causes."""
        return _CAUSES.get(self.code) or _CAUSES.get(type(self).code) or self.default_cause

    @property
    def is_final(self) -> bool:
        """Return whether clients are asked not to retry: in vain, or after too long a wait."""
        return not self.retryable or (self.retry_after or 0.0) > MAX_RETRY_AFTER

    def because_of(self, other: GatewayError) -> Self:
        """Take what the log says of another error, which caused this one; return this one."""
        self.upstream_status, self.detail = other.upstream_status, other.detail
        return self

    def log_fields(self) -> dict[str, Any]:
        """Return what the log says of this error: code and reason, and what is known besides."""
        fields: dict[str, Any] = {"code": self.code, "reason": self.message}
        if self.upstream_status is not None:
            fields["upstream_status"] = self.upstream_status
        if self.detail is not None:
            fields["detail"] = self.detail
        return fields


class InternalError(GatewayError):
    """Reports a bug of the gateway; the log has the details under the request's id."""

    def __init__(self) -> None:
        super().__init__("Internal error of the gateway; its log has details under this id.")


class InvalidRequest(GatewayError):
    """Reports that the request is wrong, so that a retry would not help."""

    status = 400
    code: str | None = None
    default_cause: Cause = "invalid_request"
    retryable = False


class ContextLengthExceeded(InvalidRequest):
    """Reports that a conversation is longer than the model takes.

    tokens, limit: of the conversation, and the most, both as the usage counts tokens.
    chars, max_chars: the same in characters, which Fitten counts.
    """

    code = "context_length_exceeded"

    def __init__(
        self, message: str, *, tokens: int, limit: int, chars: int, max_chars: int
    ) -> None:
        super().__init__(message, param="messages")
        self.tokens, self.limit = tokens, limit
        self.chars, self.max_chars = chars, max_chars


class Unauthorized(GatewayError):
    """Reports that the request has no API key, or one that is not known here."""

    status = 401
    code = "invalid_api_key"
    retryable = False


class KeyExpired(Unauthorized):
    """Reports that a key was right until it expired, or until another one replaced it.

    key_id: of the key that it was.
    """

    def __init__(self, message: str, *, key_id: str) -> None:
        super().__init__(message)
        self.key_id = key_id


class NotAllowed(GatewayError):
    """Reports that the sender is known, and may not do this."""

    status = 403
    code: str | None = None
    retryable = False


class KeyBlocked(NotAllowed):
    """Reports that a key, or its team, is blocked. key_id: of that key."""

    code = "key_blocked"

    def __init__(self, message: str, *, key_id: str) -> None:
        super().__init__(message)
        self.key_id = key_id


class ModelNotAllowed(NotAllowed):
    """Reports that a key may not use this model."""

    code = "model_not_allowed"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class RouteNotAllowed(NotAllowed):
    """Reports that a key may not use this kind of route."""

    code = "route_not_allowed"


class NotFound(InvalidRequest):
    """Reports that there is no such URL or model."""

    status = 404
    default_cause: Cause = "not_found"


class MethodNotAllowed(InvalidRequest):
    """Reports that the URL exists, but not with this method.

    allowed: the methods that it has.
    """

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class Superseded(InvalidRequest):
    """Reports that a newer completion of the same key and file replaced this one."""

    status = 409
    code = "superseded"


class BodyTimeout(InvalidRequest):
    """Reports that the head or the body of a request did not arrive in time."""

    status = 408
    code = "request_timeout"
    retryable = True


class BodyTooLarge(InvalidRequest):
    """Reports that the request's body is over the limit."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaType(InvalidRequest):
    """Reports that the body is not plain JSON in UTF-8."""

    status = 415
    code = "unsupported_media_type"


class RateLimited(GatewayError):
    """Reports that a limit of this gateway, or of Fitten, was reached."""

    status = 429
    code = "rate_limit_exceeded"


class ConcurrencyExceeded(RateLimited):
    """Reports that a caller has too many requests at once."""

    code = "concurrency_limit_exceeded"


class QuotaExceeded(RateLimited):
    """Reports that a budget of hours, a day or a month is used up; no retry helps for long."""

    code = "insufficient_quota"
    retryable = False


class UpstreamError(GatewayError):
    """Reports that Fitten failed, or that its answer cannot be understood."""

    status = 502
    code = "upstream_error"


class UpstreamUnauthorized(UpstreamError):
    """Reports that Fitten refused the token; one retry with a new token makes sense."""

    retryable = False


class Unavailable(GatewayError):
    """Reports that no request can be served now: no usable account, or shutting down."""

    status = 503
    code = "no_account_available"


def overloaded() -> Unavailable:
    """Return the error for a request that the gateway has no room for."""
    return Unavailable(
        "The gateway has no room for more at the moment; please try again.",
        code="server_is_overloaded",
        retry_after=1.0,
    )


class AccountRefused(Unavailable):
    """Reports that Fitten refuses an account: its password, or even the token of a new login.

    Such an account is not used again before a probe succeeds.
    """

    retryable = False
    elsewhere = True


class UpstreamTimeout(GatewayError):
    """Reports that Fitten did not answer within the limits of `fitten.timeouts`."""

    status = 504
    code = "upstream_timeout"
