"""An error of the gateway is the same at the other end of a channel."""

from __future__ import annotations

import inspect

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.errors import GatewayError, MethodNotAllowed
from gateway.workers.rpc.error_record import ErrorRecord, error_from_record, error_record

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, GatewayError) and kind is not MethodNotAllowed
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(
    message=st.text(max_size=20),
    code=st.none() | st.text(max_size=9),
    retry_after=st.none() | st.floats(0, 1e6),
    retryable=st.booleans(),
    elsewhere=st.booleans(),
)
def test_an_error_is_the_same_at_the_other_end(
    kind: type[GatewayError],
    message: str,
    code: str | None,
    retry_after: float | None,
    retryable: bool,
    elsewhere: bool,
) -> None:
    error = kind.__new__(kind)
    GatewayError.__init__(error, message, param="p", retry_after=retry_after)
    error.code, error.retryable, error.elsewhere = code, retryable, elsewhere
    error.upstream_status, error.detail = 503, "Connection refused"
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(error_record(error)), type=ErrorRecord)
    found = error_from_record(sent)
    assert type(found) is kind
    assert (str(found), vars(found)) == (str(error), vars(error))
    assert found.status == error.status


def test_an_error_of_an_unknown_kind_is_still_an_error() -> None:
    found = error_from_record(ErrorRecord("os", "m", "c", None, None, True, False, None, None))
    assert type(found) is GatewayError
