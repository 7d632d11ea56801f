"""Lists every error that a client can get, and how each dialect shows it.

The tests of faults look each error up here, and `docs/errors.md` is written from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.errors import (
    AccountRefused,
    BodyTimeout,
    BodyTooLarge,
    ConcurrencyExceeded,
    ContextLengthExceeded,
    GatewayError,
    InternalError,
    InvalidRequest,
    KeyBlocked,
    MethodNotAllowed,
    ModelNotAllowed,
    NotFound,
    QuotaExceeded,
    RateLimited,
    RouteNotAllowed,
    Superseded,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    UpstreamError,
    UpstreamTimeout,
    overloaded,
)

Retry = Literal["no", "yes", "wait"]
_NO = "No."  # the sentence of an error, where nothing depends on it
_MISTAKE = "400 invalid_request_error"


@dataclass(frozen=True)
class ErrorRow:
    """An error, and how it is shown.

    error: an example.
    retry: whether the SDKs are to repeat; "wait" where the gateway most often knows for how long.
    shown: status and type, by the name of the dialect; nothing where the error cannot happen.
        Ollama's dialect has no types.
    failed: the code of Responses in a stream that has begun; "" where it cannot happen then.
    """

    error: GatewayError
    meaning: str
    retry: Retry
    shown: Mapping[str, str]
    failed: str = ""

    @property
    def code(self) -> str:
        """The name of the error: that of its cause."""
        return self.error.cause


def _row(
    error: GatewayError, meaning: str, retry: Retry, *, failed: str = "", **shown: str
) -> ErrorRow:
    return ErrorRow(error, meaning, retry, shown, failed)


def _mistake(error: GatewayError, meaning: str, *, failed: str = "") -> ErrorRow:
    """Return the row of a mistake in a body."""
    same = dict.fromkeys(("chat", "messages", "responses"), _MISTAKE)
    return ErrorRow(error, meaning, "no", {**same, "ollama": "400"}, failed)


def _refused(error: GatewayError, meaning: str) -> ErrorRow:
    """Return the row of what the sender may not do."""
    return _row(
        error,
        meaning,
        "no",
        chat="403 invalid_request_error",
        messages="403 permission_error",
        responses="403 invalid_request_error",
        ollama="403",
    )


def _fitten(error: GatewayError, meaning: str, retry: Retry = "yes") -> ErrorRow:
    """Return the row of a failure of Fitten that has status 502."""
    final = retry == "no"
    return _row(
        error,
        meaning,
        retry,
        chat="502 server_error",
        messages="502 api_error",
        responses="400 server_error" if final else "502 server_error",
        ollama="502",
        failed="invalid_prompt" if final else "server_error",
    )


ROWS: tuple[ErrorRow, ...] = (
    _fitten(
        UpstreamError(_NO),
        "Fitten cannot be reached, broke the connection, or reported an error.",
    ),
    _fitten(
        UpstreamError(_NO, retryable=False),
        "The same, and another try would fail too: Fitten refused the request.",
        "no",
    ),
    _fitten(
        UpstreamError(_NO, code="upstream_invalid_response"),
        "Fitten sent no valid answer: a web page, nothing at all, nothing but heartbeats.",
    ),
    _fitten(
        UpstreamError(_NO, code="upstream_truncated"),
        "Fitten's answer broke off before its end.",
    ),
    _row(
        UpstreamTimeout(_NO),
        "Fitten took longer than `fitten.timeouts` allows.",
        "yes",
        chat="504 server_error",
        messages="504 timeout_error",
        responses="504 server_error",
        ollama="504",
        failed="server_error",
    ),
    _fitten(
        UpstreamError(_NO, code="upstream_too_long", retryable=False),
        "Fitten's answer was longer than `fitten.max_answer_bytes`.",
        "no",
    ),
    _fitten(
        UpstreamError(_NO, code="upstream_repetition", retryable=False),
        "Fitten's answer was the same loop for a long time (`fitten.stop_repetition`).",
        "no",
    ),
    _fitten(
        UpstreamError(_NO, code="upstream_empty"),
        "The request offered tools, and the model wrote neither text nor a call, twice.",
    ),
    _row(
        RateLimited(_NO, code="upstream_rate_limited", retry_after=2.5),
        "Fitten answered 429. Its `Retry-After` is passed on.",
        "wait",
        chat="429 requests",
        messages="429 rate_limit_error",
        responses="429 requests",
        ollama="429",
        failed="rate_limit_exceeded",
    ),
    _row(
        Unavailable(_NO, retry_after=2.5),
        "Every account pauses, after failures or since an admin wants it. The message says why.",
        "wait",
        chat="503 server_error",
        messages="529 overloaded_error",
        responses="503 server_error",
        ollama="503",
        failed="server_error",
    ),
    _row(
        AccountRefused(_NO),
        "Fitten refuses the account, most likely its name or password. Only the operator can "
        "help. The next try is half a minute to an hour away.",
        "no",
        chat="503 server_error",
        messages="503 api_error",
        responses="400 server_error",
        ollama="503",
        failed="invalid_prompt",
    ),
    _row(
        overloaded(),
        "All accounts are busy for too long, or there are too many connections.",
        "wait",
        chat="503 server_error",
        messages="529 overloaded_error",
        responses="503 server_error",
        ollama="503",
        failed="server_is_overloaded",
    ),
    _row(
        Unavailable(_NO, code="draining", retry_after=1.0),
        "The gateway is shutting down.",
        "wait",
        chat="503 server_error",
        messages="503 api_error",
        responses="503 server_error",
        ollama="503",
        failed="server_error",
    ),
    _row(
        Unavailable(_NO, code="ended_by_admin", retryable=False),
        "An admin of the gateway has ended this request.",
        "no",
        chat="503 server_error",
        messages="503 api_error",
        responses="400 server_error",
        ollama="503",
        failed="invalid_prompt",
    ),
    _row(
        InternalError(),
        "A bug of the gateway. Its log has the details under the id of the request.",
        "yes",
        chat="500 server_error",
        messages="500 api_error",
        responses="500 server_error",
        ollama="500",
        failed="server_error",
    ),
    _row(
        RateLimited(_NO, retry_after=2.5),
        "The client, its team or the gateway reached a [limit](limits.md) per minute.",
        "wait",
        chat="429 requests",
        messages="429 rate_limit_error",
        responses="429 requests",
        ollama="429",
    ),
    _row(
        ConcurrencyExceeded(_NO, retry_after=2.5),
        "So many requests of the client, its team or the gateway are open at once.",
        "wait",
        chat="429 requests",
        messages="429 rate_limit_error",
        responses="429 requests",
        ollama="429",
    ),
    _row(
        QuotaExceeded(_NO),
        "A [limit](limits.md) of 5 hours, 7 days, a day or a month is used up.",
        "no",
        chat="429 insufficient_quota",
        messages="429 rate_limit_error",
        responses="429 insufficient_quota",
        ollama="429",
    ),
    _row(
        Unauthorized(_NO),
        "There is no API key, an unknown one, or one that expired or was replaced.",
        "no",
        chat="401 invalid_request_error",
        messages="401 authentication_error",
        responses="401 invalid_request_error",
        ollama="401",
    ),
    _refused(KeyBlocked(_NO, key_id=""), "The key, or its team, is blocked."),
    _refused(
        ModelNotAllowed(_NO), "The key may not use this model. The message has those it may use."
    ),
    _refused(
        RouteNotAllowed(_NO), "The key may not use this route. The message has those it may use."
    ),
    _mistake(
        ContextLengthExceeded(_NO, tokens=9, limit=8, chars=36, max_chars=32),
        "The conversation is longer than the model takes.",
        failed="context_length_exceeded",
    ),
    _row(
        NotFound(_NO, code="model_not_found"),
        "There is no such model. The message has the list.",
        "no",
        chat="404 invalid_request_error",
        messages="404 not_found_error",
        responses="404 invalid_request_error",
        ollama="404",
    ),
    _mistake(InvalidRequest(_NO, code="invalid_json"), "The body is not valid JSON."),
    _mistake(InvalidRequest(_NO, code="invalid_type"), "A field has a value of another type."),
    _mistake(
        InvalidRequest(_NO, code="missing_required_parameter"), "A field that must be there is not."
    ),
    _mistake(
        InvalidRequest(_NO, code="unsupported_value"), "A field asks for what the gateway lacks."
    ),
    _mistake(InvalidRequest(_NO), "Any other mistake of a request. It has no `code`."),
    _mistake(
        InvalidRequest(_NO, code="invalid_image_url"), "An image is none, or cannot be fetched."
    ),
    _mistake(
        InvalidRequest(_NO, code="image_too_large"),
        "An image has more bytes or pixels than `images` allows.",
    ),
    _row(
        BodyTooLarge(_NO),
        "The body is over `server.max_body_bytes`.",
        "no",
        chat="413 invalid_request_error",
        messages="413 request_too_large",
        responses=_MISTAKE,
        ollama="413",
    ),
    _row(
        UnsupportedMediaType(_NO),
        "The body is not plain JSON in UTF-8.",
        "no",
        chat="415 invalid_request_error",
        messages="415 invalid_request_error",
        responses=_MISTAKE,
        ollama="415",
    ),
    _row(
        BodyTimeout(_NO),
        "The request did not arrive within `server.body_timeout`.",
        "yes",
        chat="408 invalid_request_error",
        messages="408 invalid_request_error",
        responses="408 invalid_request_error",
        ollama="408",
    ),
    _row(
        NotFound(_NO),
        "There is no such URL. It has no `code`.",
        "no",
        chat="404 invalid_request_error",
        messages="404 not_found_error",
        responses="404 invalid_request_error",
        ollama="404",
    ),
    _row(
        MethodNotAllowed(_NO, allowed=("POST",)),
        "The URL has another method.",
        "no",
        chat="405 invalid_request_error",
        messages="405 invalid_request_error",
        responses="405 invalid_request_error",
        ollama="405",
    ),
    _row(
        NotFound(_NO, code="response_not_found"),
        "Responses are not stored.",
        "no",
        responses="404 invalid_request_error",
    ),
    _row(
        NotFound(_NO, code="thread_not_found"),
        "No conversation is stored. The SDKs send it whole then.",
        "no",
        messages="404 not_found_error",
    ),
    _row(
        Superseded(_NO),
        "A newer code completion for the same file came. Chats do not have it.",
        "no",
        chat="409 invalid_request_error",
        ollama="409",
    ),
)
"""Fitten's failures first, then those of the gateway, then the mistakes of clients."""


def row_of(code: str, *, retryable: bool) -> ErrorRow:
    """Return the row of an error."""
    (row,) = (row for row in ROWS if row.code == code and (row.retry != "no") is retryable)
    return row
