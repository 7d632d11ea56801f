"""Defines what a client asks for, independent of dialect and upstream.

`apis/` parses a body into a `GenerationRequest`; `fitten/` answers it with batches of pieces.
Neither of them imports the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.generation.model import Model
from gateway.generation.outcome import Outcome
from gateway.principal import Principal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Image:
    """Holds an image: its media type and its bytes in base64."""

    mime: str
    data: str


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """Describes an image that must be fetched first. param: where it is in the request."""

    url: str
    param: str


ToolKind = Literal["function", "text", "search"]


@dataclass(frozen=True, slots=True)
class Tool:
    """Describes a tool that the model may call.

    name: as the model sees it. parameters: the JSON schema of its arguments.
    namespace: the group of tools that it belongs to; "" for none. Its name in the group is
        `name`, without a `NAMESPACE.` before it.
    kind: "function": it takes JSON. "text": it takes one text, its only argument, and the client
        wants that text alone. "search": it finds tools that can be offered.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""
    kind: ToolKind = "function"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Holds a tool call of the history; `arguments` is the JSON text that the client sent."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Says whether tools may or must be called; `name` is the tool to call for "named"."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Holds one message of the conversation.

    call_id: the id of the tool call that a message of a tool answers.
    images: they come before the text. Remote ones are fetched before the upstream is asked.
    calls: the tool calls that an assistant made after its text.
    failed: whether a message of a tool reports that the tool failed.
    """

    role: Role
    text: str
    call_id: str | None = None
    images: tuple[Image | RemoteImage, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """Asks for an answer in JSON.

    is_object: whether the answer must be an object.
    schema: the JSON schema that the answer must fit, or None.
    name, description: of the schema.
    """

    is_object: bool = False
    schema: dict[str, Any] | None = None
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Fill:
    """Describes a text with a gap at the cursor. filename: None when it is not known."""

    prefix: str
    suffix: str
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Asks for an answer to `messages`, or for the text in the gap of each of `fills`.

    With neither it asks for nothing, and the upstream is not called.

    echo: for each fill the text to send before its answer; empty when none is wanted.
    model: the name that the client sent; None means the default.
    stop: strings at which the answer ends; they are not part of it.
    max_tokens: the limit of answer and reasoning together; None for no limit.
    response_format: the form that the answer must have; None for any.
    ignored: the names of parameters that have no effect.
    tools: the tools that the model may call, as `tool_choice` says; their names are unique.
    parallel_tool_calls: whether one answer may have several calls.
    function_call: whether the client knows calls by OpenAI's older name, `function_call`.
    keeps_reserve: whether a part of the context stays free for a request that sums up the
        conversation; see `gateway.generation.compaction`.
    reasoning: whether the client wants the model's thoughts.
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
    function_call: bool = False
    keeps_reserve: bool = False
    reasoning: bool = True

    @property
    def offered(self) -> tuple[Tool, ...]:
        """Return the tools that the model may call in this answer."""
        choice = self.tool_choice
        if choice.mode == "none":
            return ()
        if choice.mode == "named":
            return tuple(tool for tool in self.tools if tool.name == choice.name)
        return self.tools


@dataclass(slots=True, eq=False)
class Generation:
    """Describes a request that the upstream is asked: who sent it, and its outcome.

    principal: None when nobody was authenticated.
    requested_model: the name that the client sent, as logs may show it; None for the default.
    """

    request: GenerationRequest
    model: Model
    outcome: Outcome
    principal: Principal | None = None
    requested_model: str | None = None

    @property
    def caller(self) -> str | None:
        """Return the id that the queue and the completions tell callers apart by."""
        return None if self.principal is None else self.principal.id

    @property
    def model_name(self) -> str:
        """Return the model's name in answers: the name that the client sent, else the id."""
        return self.request.model or self.model.id

    @property
    def end(self) -> str | None:
        """Return `outcome.end`, for middlewares that read it here."""
        return self.outcome.end


def inline_images(messages: Iterable[Message]) -> list[Image]:
    """Return the images of a conversation that need not be fetched, in order."""
    return [image for m in messages if m.images for image in inline(m.images)]


def inline(images: Iterable[Image | RemoteImage]) -> list[Image]:
    """Return the images that need not be fetched."""
    return [image for image in images if isinstance(image, Image)]
