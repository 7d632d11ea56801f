"""What workers and their parent tell each other."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import errors
from gateway.accounts.health import Outcome
from gateway.errors import GatewayError
from gateway.fitten.auth.reauthenticate import Way
from gateway.generation.model import Model
from gateway.store.token_file import Tokens


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Anything that is told."""


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """A GatewayError on its way."""

    kind: str
    message: str
    code: str | None
    param: str | None
    retry_after: float | None
    retryable: bool
    elsewhere: bool


# A worker asks; each has the number of a call, which its answer bears too.


class Question(Message, frozen=True):
    """What wants an answer. call: its number, no other question's of this worker. shift: of
    the settings under which it is asked."""

    call: int
    shift: int


class Acquire(Question, frozen=True):
    """A slot for this key, after at most `wait` seconds in line."""

    key: str | None
    wait: float


class Another(Question, frozen=True):
    """A slot of an account that was not tried yet."""

    key: str | None
    wait: float
    tried: tuple[str, ...]


class AcquireSmall(Question, frozen=True):
    """A slot for a small call, with that account if it has one."""

    prefer: str | None


class FetchTokens(Question, frozen=True):
    """An account's tokens, when they are there."""

    account: str


class Replace(Question, frozen=True):
    """Other tokens than these, which the upstream refused."""

    account: str
    rejected: Tokens
    way: Way


class Admit(Question, frozen=True):
    """May this caller make one more request in this window?"""

    name: str
    caller: str
    limit: int
    seconds: float
    callers: int


# A worker tells.


class Withdraw(Message, frozen=True):
    """Nobody waits for the answer of this call any more; a slot it brought comes back."""

    call: int


class Answered(Message, frozen=True):
    """The upstream began to answer the call that holds this slot, a probe."""

    slot: int


class Release(Message, frozen=True):
    """A slot is given back."""

    slot: int
    outcome: Outcome
    failure: Failure | None


class Refused(Message, frozen=True):
    """Even new tokens of this account were refused."""

    shift: int
    account: str


class TurnBegan(Message, frozen=True):
    """A completion of this caller and file is the newest. turn: its number in this worker."""

    turn: int
    caller: str | None
    filename: str


class TurnOver(Message, frozen=True):
    """A completion is done."""

    turn: int


class Ready(Message, frozen=True):
    """The worker could serve under these settings. fault: why it cannot, else empty."""

    shift: int
    fault: str


class Serving(Message, frozen=True):
    """What comes from now on is served under these settings."""

    shift: int


class Left(Message, frozen=True):
    """The last request under these settings is done."""

    shift: int


class Beat(Message, frozen=True):
    """The worker's event loop turns. requests, connections: how many there are."""

    requests: int
    connections: int


# The parent answers.


class Answer(Message, frozen=True):
    """What a call brought."""

    call: int


class Lent(Answer, frozen=True):
    """A slot, named by the number of its call. tokens: None when they have to be fetched."""

    account: str
    probe: bool
    tokens: Tokens | None


class NoSlot(Answer, frozen=True):
    """There is no other account to be had now."""


class Fetched(Answer, frozen=True):
    """Tokens."""

    tokens: Tokens


class Admitted(Answer, frozen=True):
    """What came of a request in its window; see `Admission`."""

    admitted: bool
    count: int
    first: float
    last: float


class Failed(Answer, frozen=True):
    """The call failed."""

    failure: Failure


# The parent tells.


class Start(Message, frozen=True):
    """What the worker is to be."""

    number: int


class Prepare(Message, frozen=True):
    """Make everything ready to serve under these settings, and say `Ready`.

    settings: a pickled `Config`, from the parent's own memory.
    """

    shift: int
    settings: bytes


class Serve(Message, frozen=True):
    """Serve what comes from now on under the settings that were prepared, and say `Serving`."""

    shift: int


class Forget(Message, frozen=True):
    """The settings that were prepared are not to be."""

    shift: int


class Mean(Message, frozen=True):
    """How many connections a worker has on the average."""

    connections: float


class Stop(Message, frozen=True):
    """Take no more connections; requests may go on for so long, without an end if None."""

    seconds: float | None


class Reopen(Message, frozen=True):
    """Open log files anew."""


class Outdated(Message, frozen=True):
    """There is a newer completion of the same caller and file in another worker."""

    turn: int


class State(Message, frozen=True):
    """How the accounts are. fault: why no request can be served now."""

    shift: int
    fault: Failure | None
    serving: int
    accounts: int


class Models(Message, frozen=True):
    """The models that are offered."""

    shift: int
    models: tuple[Model, ...]


FromWorker = (
    Acquire
    | Another
    | AcquireSmall
    | FetchTokens
    | Replace
    | Admit
    | Withdraw
    | Answered
    | Release
    | Refused
    | TurnBegan
    | TurnOver
    | Ready
    | Serving
    | Left
    | Beat
)
FromParent = (
    Lent
    | NoSlot
    | Fetched
    | Admitted
    | Failed
    | Start
    | Prepare
    | Serve
    | Forget
    | Mean
    | Stop
    | Reopen
    | Outdated
    | State
    | Models
)


def failure_of(error: GatewayError) -> Failure:
    """An error, to be sent."""
    return Failure(
        type(error).__name__,
        error.message,
        error.code,
        error.param,
        error.retry_after,
        error.retryable,
        error.elsewhere,
    )


def error_of(failure: Failure) -> GatewayError:
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
