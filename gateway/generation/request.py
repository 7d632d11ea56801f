"""One generation: what is asked, in no dialect, and what came of it.

The hub between `apis/` (which never know the upstream) and `fitten/` (which never
knows an API): an API turns a body into a `GenerationRequest`, the upstream turns that
into batches of pieces, and `Generation` keeps the books that the request log reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


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


def inline_images(messages: Iterable[Message]) -> list[Image]:
    """The pictures in a conversation whose bytes are there, in order."""
    return [image for m in messages if m.images for image in inline(m.images)]


def inline(images: Iterable[Image | RemoteImage]) -> list[Image]:
    """Those pictures whose bytes are there."""
    return [image for image in images if isinstance(image, Image)]
