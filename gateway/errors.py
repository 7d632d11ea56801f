"""What can go wrong, in no dialect: a few kinds, drawn once.

A kind carries what a caller has to know (an HTTP status, a code, one sentence that
says what to do); `apis/` turns it into the body of a dialect, `error_handler` into an
answer. The statuses and codes are those that OpenAI's SDKs act on.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"(?!sk-|eyJ|FT_)[\w.:/-]+", re.ASCII)


def word(value: str, *, longest: int = 64) -> str:
    """A word of the caller's, as messages may show it.

    What is no word, or over so many characters, may be a prompt in the wrong place, and what
    looks like a key may be one: of those only `...` is shown.
    """
    return value if len(value) <= longest and _WORD.fullmatch(value) else "..."


class GatewayError(Exception):
    """Any failure that is told to a caller.

    message: one sentence for a person; never upstream text, tokens or internals.
    code: the machine-readable word, or None.
    param: the path of the field at fault, e.g. `messages[0].content`.
    retry_after: seconds after which a repeat makes sense; None when unknown.
    retryable: whether the official SDKs should repeat by themselves.
    elsewhere: whether another account may be asked at once, because the request had no
        effect on the one that failed.
    """

    status = 500
    code: str | None = "internal_error"
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
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable
        if elsewhere is not None:
            self.elsewhere = elsewhere


class InternalError(GatewayError):
    """A mistake of ours; what it was is in the log, under the request's id."""

    def __init__(self) -> None:
        super().__init__("The gateway made a mistake; its log has the details under this id.")


class InvalidRequest(GatewayError):
    """The caller's request is wrong; repeating it changes nothing."""

    status = 400
    code: str | None = None
    retryable = False


class Unauthorized(GatewayError):
    """No API key, or one that is not known here."""

    status = 401
    code = "invalid_api_key"
    retryable = False


class NotFound(InvalidRequest):
    """No such URL or model."""

    status = 404


class MethodNotAllowed(InvalidRequest):
    """The URL exists, with other methods."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class Superseded(InvalidRequest):
    """A newer completion of the same key and file has taken this one's place."""

    status = 409
    code = "superseded"


class BodyTimeout(InvalidRequest):
    """The request, its head or its body, did not arrive in time."""

    status = 408
    code = "request_timeout"
    retryable = True


class BodyTooLarge(InvalidRequest):
    """The request's body is over the limit."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaType(InvalidRequest):
    """The body is not plain JSON in UTF-8."""

    status = 415
    code = "unsupported_media_type"


class RateLimited(GatewayError):
    """A limit of this gateway, or of the upstream, was reached."""

    status = 429
    code = "rate_limit_exceeded"


class UpstreamError(GatewayError):
    """Fitten failed, or answered what cannot be understood."""

    status = 502
    code = "upstream_error"


class UpstreamUnauthorized(UpstreamError):
    """Fitten refused our token. Told apart because it is worth one renewed token."""

    retryable = False


class Unavailable(GatewayError):
    """No answer can be given now: no usable account, or shutting down."""

    status = 503
    code = "no_account_available"


def overloaded() -> Unavailable:
    """What a caller is told when there is no room for it."""
    return Unavailable(
        "The gateway has no room for more at the moment; please try again.",
        code="server_is_overloaded",
        retry_after=1.0,
    )


class AccountRefused(Unavailable):
    """Fitten refuses an account: its password, or even the tokens of a new login.

    Told apart because such an account is not used again before it is well.
    """

    retryable = False
    elsewhere = True


class UpstreamTimeout(GatewayError):
    """Fitten did not answer within the limits of `fitten.timeouts`."""

    status = 504
    code = "upstream_timeout"
