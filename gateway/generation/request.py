"""One generation: what is asked, in no dialect, and what came of it.

The hub between `apis/` (which never know the upstream) and `fitten/` (which never
knows an API): an API turns a body into a `GenerationRequest`, the upstream turns that
into batches of pieces, and `Generation` keeps the books that the request log reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls"]

# A piece of an answer: its kind and its text, never empty. A plain tuple, because there
# is one for every few characters of every answer. A "call" begins a call and its text is
# the tool's name; "arguments" continue the JSON of the call begun last. A "choice" begins
# the answer to the next of several prompts; its text is that one's number.
Kind = Literal["content", "reasoning", "call", "arguments", "choice"]
Piece = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: its media type and its bytes in base64."""

    mime: str
    data: str


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """A picture that is still to be fetched. param: where in the request it stands."""

    url: str
    param: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that may be called: `parameters` is a JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call made earlier; `arguments` are JSON text, as the model is said to have written."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools may or must be called; `name` is the one that must be, for "named"."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation.

    call_id: names the call that a tool turn answers. calls: those an assistant turn made,
    after its text. images: they stand before the text; those to be fetched only until the
    upstream is asked.
    """

    role: Role
    text: str
    call_id: str | None = None
    images: tuple[Image | RemoteImage, ...] = ()
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the upstream: the id callers use and what the upstream calls it."""

    id: str
    display_name: str
    selection_name: str | None
    section: Literal["chat", "agent"]
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """JSON is wanted.

    is_object: it is to be an object, whatever is in it. schema: a JSON schema that it is
    to fit; None for no other wish. name, description: the schema's.
    """

    is_object: bool = False
    schema: dict[str, Any] | None = None
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Fill:
    """A text with a gap at the cursor. filename: the file's, as far as it is known."""

    prefix: str
    suffix: str
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What is asked: an answer to `messages`, or what belongs into the gap of each of `fills`.

    model: the caller's word for it; None means the default.
    stop: strings at which the answer ends; they are not part of it.
    max_tokens: the most tokens of answer and reasoning together; None for no limit.
    echo: for each fill what goes before its answer, where that is wanted.
    response_format: the form that the answer is to have; None for any.
    ignored: parameters that were given but cannot be carried out.
    tools: what the model may call, as `tool_choice` says; no two have the same name.
    parallel_tool_calls: whether one answer may hold several calls.
    """

    messages: tuple[Message, ...]
    fills: tuple[Fill, ...] = ()
    echo: tuple[str, ...] = ()
    model: str | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    stream: bool = False
    include_usage: bool = False
    response_format: ResponseFormat | None = None
    ignored: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that the model may call in this answer."""
        choice = self.tool_choice
        if choice.mode == "none":
            return ()
        if choice.mode == "named":
            return tuple(tool for tool in self.tools if tool.name == choice.name)
        return self.tools


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `estimated` says that the upstream gave no count and we guessed."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    estimated: bool = False


@dataclass(slots=True, eq=False)
class Generation:
    """What is becoming of a request; written as it happens, read by the request log.

    end: "complete", or the code of the error that ended it ("client_closed_request"
    when the caller left); None while it runs.
    caller: the name of the API key in use, where one was asked for.
    format_missed: the answer is whole, but not of the form that was wanted.
    finish_reasons: of each fill, once the answer is whole.
    account: the upstream's account that served it last; for logs, never for callers.
    queued: seconds spent in line for an account.
    Times are of the monotonic clock, in seconds.
    """

    request: GenerationRequest
    model: Model
    caller: str | None = None
    started: float = field(default_factory=time.monotonic)
    first_piece: float | None = None
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    finish_reasons: tuple[FinishReason, ...] = ()
    end: str | None = None
    bytes_sent: int = 0
    format_missed: bool = False
    account: str | None = None
    queued: float = 0.0

    @property
    def model_name(self) -> str:
        """The name the caller sees: their own word for the model, else its id."""
        return self.request.model or self.model.id


@dataclass(frozen=True, slots=True)
class Silence:
    """After how many seconds without a piece a sign is wanted, first `grace`, then `interval`,
    and what gives it. A sign never waits for a piece and is never given twice at once."""

    grace: float
    interval: float
    sign: Callable[[], Coroutine[Any, Any, None]]


# Offered a batch, it says whether it took it.
Direct = Callable[[Sequence[Piece]], bool]


class Batches(Protocol):
    """The batches of one answer; `ended` says that the one in hand is the last.

    direct: where set, it is offered a batch in the moment it arrives, while the iteration
        waits; what it takes (True) does not come by the iteration. So a piece wakes no task.
    Leaving the context stops the upstream.
    """

    ended: bool
    direct: Direct | None

    async def __aenter__(self) -> Batches: ...

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> Batches: ...

    async def __anext__(self) -> Sequence[Piece]: ...


class Upstream(Protocol):
    """Where answers come from."""

    def resolve(self, name: str | None) -> Model:
        """The model a caller means; None is the default. Raises NotFound."""
        ...

    def models(self) -> Sequence[Model]:
        """The models offered now, from memory."""
        ...

    def generate(self, generation: Generation, silence: Silence | None = None) -> Batches:
        """Batches of pieces, as they arrive, none of them empty.

        `stop` and `max_tokens` are carried out, `response_format` as far as can be. Once the
        context is left, `generation` holds `usage` and `finish_reason`. Raises a GatewayError
        instead of ending when the answer is not whole.
        """
        ...
