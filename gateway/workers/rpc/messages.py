"""What workers and their parent tell each other."""

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
    """Anything that is told."""


class ErrorRecord(msgspec.Struct, frozen=True, array_like=True):
    """A GatewayError on its way."""

    kind: str
    message: str
    code: str | None
    param: str | None
    retry_after: float | None
    retryable: bool
    elsewhere: bool


# A worker asks; each has the number of a call, which its answer bears too.


class RpcRequest(RpcMessage, frozen=True):
    """What wants an answer. call: its number, no other question's of this worker. shift: of
    the settings under which it is asked."""

    call: int
    revision: int


class AcquireSlot(RpcRequest, frozen=True):
    """A slot for this key, after at most `wait` seconds in line."""

    key: str | None
    wait: float


class AcquireOtherSlot(RpcRequest, frozen=True):
    """A slot of an account that was not tried yet."""

    key: str | None
    wait: float
    tried: tuple[str, ...]


class AcquireCompletionSlot(RpcRequest, frozen=True):
    """A slot for a small call, with that account if it has one."""

    prefer: str | None


class FetchTokens(RpcRequest, frozen=True):
    """An account's tokens, when they are there."""

    account: str


class ReplaceTokens(RpcRequest, frozen=True):
    """Other tokens than these, which the upstream refused."""

    account: str
    rejected: Tokens
    way: Renewal


class CountRequest(RpcRequest, frozen=True):
    """May this caller make one more request in this window?"""

    name: str
    caller: str
    limit: int
    seconds: float
    callers: int


# A worker tells.


class CancelRequest(RpcMessage, frozen=True):
    """Nobody waits for the answer of this call any more; a slot it brought comes back."""

    call: int


class ProbeAnswered(RpcMessage, frozen=True):
    """The upstream began to answer the call that holds this slot, a probe."""

    slot: int


class ReleaseSlot(RpcMessage, frozen=True):
    """A slot is given back."""

    slot: int
    outcome: CallOutcome
    failure: ErrorRecord | None


class SessionRefused(RpcMessage, frozen=True):
    """Even new tokens of this account were refused."""

    revision: int
    account: str


class CompletionBegan(RpcMessage, frozen=True):
    """A completion of this caller and file is the newest. turn: its number in this worker."""

    completion: int
    caller: str | None
    filename: str


class CompletionEnded(RpcMessage, frozen=True):
    """A completion is done."""

    completion: int


class RevisionReady(RpcMessage, frozen=True):
    """The worker could serve under these settings. fault: why it cannot, else empty."""

    revision: int
    fault: str


class RevisionServing(RpcMessage, frozen=True):
    """What comes from now on is served under these settings."""

    revision: int


class RevisionDrained(RpcMessage, frozen=True):
    """The last request under these settings is done."""

    revision: int


class Heartbeat(RpcMessage, frozen=True):
    """The worker's event loop turns. requests, connections: how many there are."""

    requests: int
    connections: int


# The parent answers.


class RpcResponse(RpcMessage, frozen=True):
    """What a call brought."""

    call: int


class SlotGranted(RpcResponse, frozen=True):
    """A slot, named by the number of its call. tokens: None when they have to be fetched."""

    account: str
    probe: bool
    tokens: Tokens | None


class NoOtherSlot(RpcResponse, frozen=True):
    """There is no other account to be had now."""


class TokensFetched(RpcResponse, frozen=True):
    """Tokens."""

    tokens: Tokens


class RequestCounted(RpcResponse, frozen=True):
    """What came of a request in its window; see `Admission`."""

    admitted: bool
    count: int
    first: float
    last: float


class RpcFailed(RpcResponse, frozen=True):
    """The call failed."""

    failure: ErrorRecord


# The parent tells.


class StartWorker(RpcMessage, frozen=True):
    """What the worker is to be."""

    number: int


class PrepareRevision(RpcMessage, frozen=True):
    """Make everything ready to serve under these settings, and say `RevisionReady`.

    settings: a pickled `Config`, from the parent's own memory.
    """

    revision: int
    settings: bytes


class ServeRevision(RpcMessage, frozen=True):
    """Serve new requests under the settings that were prepared; answer `RevisionServing`."""

    revision: int


class DropRevision(RpcMessage, frozen=True):
    """The settings that were prepared are not to be."""

    revision: int


class MeanConnections(RpcMessage, frozen=True):
    """How many connections a worker has on the average."""

    connections: float


class StopWorker(RpcMessage, frozen=True):
    """Take no more connections; requests may go on for so long, without an end if None."""

    seconds: float | None


class ReopenLogs(RpcMessage, frozen=True):
    """Open log files anew."""


class CompletionSuperseded(RpcMessage, frozen=True):
    """There is a newer completion of the same caller and file in another worker."""

    completion: int


class AccountsState(RpcMessage, frozen=True):
    """How the accounts are. fault: why no request can be served now."""

    revision: int
    fault: ErrorRecord | None
    serving: int
    accounts: int


class ModelsChanged(RpcMessage, frozen=True):
    """The models that are offered."""

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
    """An error, to be sent."""
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
    """The error that was sent. One of a kind that is not known here is a GatewayError."""
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
