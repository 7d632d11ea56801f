"""Defines the messages between the master and its workers."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import errors
from gateway.accounts.health import CallOutcome
from gateway.errors import GatewayError
from gateway.fitten.auth.reauthenticate import Renewal
from gateway.generation.model import Model
from gateway.store.token_file import Tokens


class RpcMessage(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Marks every message."""


class ErrorRecord(msgspec.Struct, frozen=True, array_like=True):
    """Holds a GatewayError in a form that can be sent. kind: the name of its class."""

    kind: str
    message: str
    code: str | None
    param: str | None
    retry_after: float | None
    retryable: bool
    elsewhere: bool


# Requests of a worker. Each has a number, and its response has the same number.


class RpcRequest(RpcMessage, frozen=True):
    """Requests a response.

    call: the number of the request, unique in this worker.
    revision: the configuration of the application that sends it.
    """

    call: int
    revision: int


class AcquireSlot(RpcRequest, frozen=True):
    """Requests a slot for this key, after at most `wait` seconds in the queue."""

    key: str | None
    wait: float


class AcquireOtherSlot(RpcRequest, frozen=True):
    """Requests a slot of an account that was not tried yet.

    wait: seconds in the queue at most. tried: names of accounts.
    """

    key: str | None
    wait: float
    tried: tuple[str, ...]


class AcquireCompletionSlot(RpcRequest, frozen=True):
    """Requests a slot for a code completion.

    prefer: the name of the account to use if it has a free slot.
    """

    prefer: str | None


class FetchTokens(RpcRequest, frozen=True):
    """Requests the tokens of an account; the master logs in first if necessary."""

    account: str


class ReplaceTokens(RpcRequest, frozen=True):
    """Requests new tokens instead of those that the upstream refused."""

    account: str
    rejected: Tokens
    way: Renewal


class CountRequest(RpcRequest, frozen=True):
    """Requests to count one request of a caller, unless it is over the limit.

    name: of the middleware that counts. The other members are those of `Window`.
    """

    name: str
    caller: str
    limit: int
    seconds: float
    callers: int


# Other messages of a worker.


class CancelRequest(RpcMessage, frozen=True):
    """Cancels a request; a slot that was granted for it is released."""

    call: int


class ProbeAnswered(RpcMessage, frozen=True):
    """Reports that the upstream began to answer the probe that holds this slot."""

    slot: int


class ReleaseSlot(RpcMessage, frozen=True):
    """Releases a slot, with the outcome of its call."""

    slot: int
    outcome: CallOutcome
    failure: ErrorRecord | None


class SessionRefused(RpcMessage, frozen=True):
    """Reports that the upstream refused an account even with new tokens."""

    revision: int
    account: str


class CompletionBegan(RpcMessage, frozen=True):
    """Reports that a completion is now the newest of this caller and file.

    completion: its number in this worker.
    """

    completion: int
    caller: str | None
    filename: str


class CompletionEnded(RpcMessage, frozen=True):
    """Reports that a completion has ended."""

    completion: int


class RevisionReady(RpcMessage, frozen=True):
    """Reports that the worker has prepared a revision, or why it cannot.

    fault: why it cannot; empty if it can.
    """

    revision: int
    fault: str


class RevisionServing(RpcMessage, frozen=True):
    """Reports that new requests are served with this revision."""

    revision: int


class RevisionDrained(RpcMessage, frozen=True):
    """Reports that the last request of this revision has ended."""

    revision: int


class Heartbeat(RpcMessage, frozen=True):
    """Reports that the event loop of the worker is alive, and how much is open."""

    requests: int
    connections: int


# Responses of the master.


class RpcResponse(RpcMessage, frozen=True):
    """Responds to the request with this number."""

    call: int


class SlotGranted(RpcResponse, frozen=True):
    """Grants a slot. The number of the request identifies the slot from now on.

    probe: whether the call tests a half-open account.
    tokens: None when the worker must fetch them.
    """

    account: str
    probe: bool
    tokens: Tokens | None


class NoOtherSlot(RpcResponse, frozen=True):
    """Reports that no other account is available now."""


class TokensFetched(RpcResponse, frozen=True):
    """Returns the tokens of an account."""

    tokens: Tokens


class RequestCounted(RpcResponse, frozen=True):
    """Returns whether a request is admitted, and the state of its window; see `Admission`."""

    admitted: bool
    count: int
    first: float
    last: float


class RpcFailed(RpcResponse, frozen=True):
    """Reports that the request failed."""

    failure: ErrorRecord


# Other messages of the master.


class StartWorker(RpcMessage, frozen=True):
    """Tells a new worker its number, for the log."""

    number: int


class PrepareRevision(RpcMessage, frozen=True):
    """Asks a worker to prepare an application with these settings; see `RevisionReady`.

    settings: a pickled `Config`. Unpickling it is safe: it comes from the master's own memory.
    """

    revision: int
    settings: bytes


class ServeRevision(RpcMessage, frozen=True):
    """Asks a worker to serve with a revision that it has prepared; see `RevisionServing`."""

    revision: int


class DropRevision(RpcMessage, frozen=True):
    """Asks a worker to drop a revision that it has prepared: a reload failed."""

    revision: int


class MeanConnections(RpcMessage, frozen=True):
    """Tells how many connections a worker has on average."""

    connections: float


class StopWorker(RpcMessage, frozen=True):
    """Asks a worker to stop listening, drain and end.

    seconds: how long open requests may take; None for no limit.
    """

    seconds: float | None


class ReopenLogs(RpcMessage, frozen=True):
    """Asks a worker to reopen its log files."""


class CompletionSuperseded(RpcMessage, frozen=True):
    """Tells that another worker has a newer completion of the same caller and file."""

    completion: int


class AccountsState(RpcMessage, frozen=True):
    """Tells the state of the accounts of a revision.

    fault: why no request can be served now; None if one can.
    serving: how many accounts could serve a request. accounts: how many there are.
    """

    revision: int
    fault: ErrorRecord | None
    serving: int
    accounts: int


class ModelsChanged(RpcMessage, frozen=True):
    """Tells which models a revision offers."""

    revision: int
    models: tuple[Model, ...]


FromWorker = (
    AcquireSlot
    | AcquireOtherSlot
    | AcquireCompletionSlot
    | FetchTokens
    | ReplaceTokens
    | CountRequest
    | CancelRequest
    | ProbeAnswered
    | ReleaseSlot
    | SessionRefused
    | CompletionBegan
    | CompletionEnded
    | RevisionReady
    | RevisionServing
    | RevisionDrained
    | Heartbeat
)
FromMaster = (
    SlotGranted
    | NoOtherSlot
    | TokensFetched
    | RequestCounted
    | RpcFailed
    | StartWorker
    | PrepareRevision
    | ServeRevision
    | DropRevision
    | MeanConnections
    | StopWorker
    | ReopenLogs
    | CompletionSuperseded
    | AccountsState
    | ModelsChanged
)


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
    return error
