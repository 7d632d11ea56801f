"""Encodes answers in OpenAI's Responses API: pieces -> events or one object."""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from gateway.apis.base import EVENT_STREAM
from gateway.apis.openai.responses.response import (
    ResponseObject,
    message_item,
    new_id,
    reasoning_item,
    summary_part,
    text_part,
)
from gateway.apis.openai.responses.text_input import TextInput
from gateway.errors import GatewayError
from gateway.generation.outcome import Usage
from gateway.generation.pieces import Piece
from gateway.generation.request import Generation, Tool

_KIND, _TEXT = operator.itemgetter(0), operator.itemgetter(1)
_encode = msgspec.json.Encoder().encode


class ResponsesEncoder:
    """Encodes one answer. Its items come one after another, each whole before the next begins.

    The texts of pieces that came together are one delta. Comments do not keep Codex waiting, so
    a data event does.
    """

    media_type = EVENT_STREAM

    def __init__(self, generation: Generation) -> None:
        request = generation.request
        self._generation = generation
        self._response = ResponseObject(generation)
        self._tools = {tool.name: tool for tool in request.offered}
        self._events = _Events()
        self._output: list[dict[str, Any]] = []  # the items that are complete
        self._opened = 0  # how many items have begun
        self._item: _OpenItem | None = None  # the item that is open
        self._kind = ""  # of the pieces that the open item takes

    def begin(self) -> bytes:
        begun = self._response.begun()
        return self._events.encode("response.created", {"response": begun}) + self.keep_alive()

    def keep_alive(self) -> bytes:
        begun = self._response.begun()
        return self._events.encode("response.in_progress", {"response": begun})

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        """Return the events of a batch; there may be none."""
        frames: list[bytes] = []
        for kind, run in itertools.groupby(batch, _KIND):
            if kind == self._kind and self._item is not None:
                frames.append(self._item.delta("".join(map(_TEXT, run))))
            else:
                self._change(kind, map(_TEXT, run), frames)
        return b"".join(frames)

    def end(self) -> bytes:
        frames: list[bytes] = []
        status = self._status
        self._close(frames, status)
        if not self._output and status == "completed":
            self._open(_Message(self._events, self._opened), frames)
            self._close(frames, status)
        ended = self._response.ended(status, self._output, self._usage or Usage(0, 0))
        frames.append(self._events.encode(f"response.{status}", {"response": ended}))
        return b"".join(frames)

    def error(self, error: GatewayError) -> bytes:
        failed = self._response.failed(error, self._output, self._usage)
        return self._events.encode("response.failed", {"response": failed})

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        self.pieces(pieces)
        self.end()
        ended = self._response.ended(self._status, self._output, self._usage or Usage(0, 0))
        return _encode(ended)

    def _change(self, kind: str, texts: Iterable[str], frames: list[bytes]) -> None:
        """Take texts of another kind than the open item takes; add the events."""
        if kind == "call":
            for name in texts:
                self._close(frames, "completed")
                self._open(_call(self._tools.get(name), name, self._events, self._opened), frames)
            self._kind = "arguments"
            return
        self._close(frames, "completed")
        item = _Reasoning if kind == "reasoning" else _Message
        self._open(opened := item(self._events, self._opened), frames)
        self._kind = kind
        frames.append(opened.delta("".join(texts)))

    def _open(self, item: _OpenItem, frames: list[bytes]) -> None:
        self._item = item
        self._opened += 1
        frames.append(item.opening())

    def _close(self, frames: list[bytes], status: str) -> None:
        """End the open item; a call that is not whole is no part of the output."""
        item, self._item, self._kind = self._item, None, ""
        if item is not None and (whole := item.whole(status)) is not None:
            frames.append(item.closing(whole))
            self._output.append(whole)

    @property
    def _status(self) -> str:
        cut = self._generation.outcome.finish_reasons[0] == "length"
        return "incomplete" if cut else "completed"

    @property
    def _usage(self) -> Usage | None:
        return self._generation.outcome.usage


class _Events:
    """Numbers the events of one stream, and encodes them."""

    def __init__(self) -> None:
        self.number = -1

    def encode(self, kind: str, members: dict[str, Any]) -> bytes:
        self.number += 1
        data = _encode({"type": kind, "sequence_number": self.number, **members})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def head(self, kind: str, members: dict[str, Any]) -> bytes:
        """Return the beginning of an event, up to its number, which `delta`s share."""
        data = _encode({"type": kind, **members})
        return b'event: %b\ndata: %b,"sequence_number":' % (kind.encode(), data[:-1])


class _OpenItem(Protocol):
    """Encodes the events of one item of the output."""

    def opening(self) -> bytes:
        """Return the events with which the item begins."""
        ...

    def delta(self, text: str) -> bytes:
        """Return the event of a further text; there may be none."""
        ...

    def whole(self, status: str) -> dict[str, Any] | None:
        """Return the whole item; None if it must not be sent. status: of a message."""
        ...

    def closing(self, whole: dict[str, Any]) -> bytes:
        """Return the events with which the item ends."""
        ...


class _OutputItem:
    """Holds what the items have in common."""

    prefix = ""

    def __init__(self, events: _Events, index: int) -> None:
        self._events = events
        self._id = new_id(self.prefix)
        self._place = {"output_index": index}
        self._inner: dict[str, Any] = {"item_id": self._id, "output_index": index}
        self._texts: list[str] = []
        self._head = b""
        self._tail = b"}\n\n"

    def delta(self, text: str) -> bytes:
        self._texts.append(text)
        self._events.number += 1
        return b'%b%d,"delta":%b%b' % (
            self._head,
            self._events.number,
            _encode(text),
            self._tail,
        )

    def _event(self, kind: str, **members: Any) -> bytes:
        return self._events.encode(kind, {**self._inner, **members})

    def _added(self, item: dict[str, Any]) -> bytes:
        return self._events.encode("response.output_item.added", {**self._place, "item": item})

    def _done(self, item: dict[str, Any]) -> bytes:
        return self._events.encode("response.output_item.done", {**self._place, "item": item})


class _Message(_OutputItem):
    """Encodes a text of the answer."""

    prefix = "msg"

    def __init__(self, events: _Events, index: int) -> None:
        super().__init__(events, index)
        self._inner["content_index"] = 0
        self._head = events.head("response.output_text.delta", self._inner)
        self._tail = b',"logprobs":[]}\n\n'

    def opening(self) -> bytes:
        item = message_item(self._id, "", "in_progress") | {"content": []}
        return self._added(item) + self._event("response.content_part.added", part=text_part(""))

    def whole(self, status: str) -> dict[str, Any] | None:
        return message_item(self._id, "".join(self._texts), status)

    def closing(self, whole: dict[str, Any]) -> bytes:
        (part,) = whole["content"]
        return (
            self._event("response.output_text.done", text=part["text"], logprobs=[])
            + self._event("response.content_part.done", part=part)
            + self._done(whole)
        )


class _Reasoning(_OutputItem):
    """Encodes thoughts as a summary with one part."""

    prefix = "rs"

    def __init__(self, events: _Events, index: int) -> None:
        super().__init__(events, index)
        self._inner["summary_index"] = 0
        self._head = events.head("response.reasoning_summary_text.delta", self._inner)

    def opening(self) -> bytes:
        part = summary_part("")
        return self._added(reasoning_item(self._id, None)) + self._event(
            "response.reasoning_summary_part.added", part=part
        )

    def whole(self, status: str) -> dict[str, Any] | None:
        return reasoning_item(self._id, "".join(self._texts))

    def closing(self, whole: dict[str, Any]) -> bytes:
        (part,) = whole["summary"]
        return (
            self._event("response.reasoning_summary_text.done", text=part["text"])
            + self._event("response.reasoning_summary_part.done", part=part)
            + self._done(whole)
        )


class _Call(_OutputItem):
    """Encodes the call of a function."""

    prefix = "fc"

    def __init__(self, name: str, namespace: str, events: _Events, index: int) -> None:
        super().__init__(events, index)
        self._head = events.head("response.function_call_arguments.delta", self._inner)
        self._name = name
        self._members = {"call_id": new_id("call"), "name": name}
        if namespace:
            self._members["namespace"] = namespace

    def opening(self) -> bytes:
        return self._added(self._item("in_progress", ""))

    def whole(self, status: str) -> dict[str, Any] | None:
        arguments = "".join(self._texts)
        return self._item("completed", arguments) if _is_json(arguments) else None

    def closing(self, whole: dict[str, Any]) -> bytes:
        done = self._event(
            "response.function_call_arguments.done",
            name=self._name,
            arguments=whole["arguments"],
        )
        return done + self._done(whole)

    def _item(self, status: str, arguments: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "function_call",
            "status": status,
            **self._members,
            "arguments": arguments,
        }


class _TextCall(_OutputItem):
    """Encodes the call of a custom tool, which takes a text."""

    prefix = "ctc"

    def __init__(self, name: str, namespace: str, events: _Events, index: int) -> None:
        super().__init__(events, index)
        self._head = events.head("response.custom_tool_call_input.delta", self._inner)
        self._members = {"call_id": new_id("call"), "name": name}
        if namespace:
            self._members["namespace"] = namespace
        self._input = TextInput()

    def opening(self) -> bytes:
        return self._added(self._item("in_progress", ""))

    def delta(self, text: str) -> bytes:
        """Return the event of the text that is certain; an empty one keeps the client waiting."""
        return super().delta(self._input.feed(text))

    def whole(self, status: str) -> dict[str, Any] | None:
        text = self._input.end()
        return None if text is None else self._item("completed", text)

    def closing(self, whole: dict[str, Any]) -> bytes:
        text = whole["input"]
        rest = text[self._input.sent :]
        return (
            (super().delta(rest) if rest else b"")
            + self._event("response.custom_tool_call_input.done", input=text)
            + self._done(whole)
        )

    def _item(self, status: str, text: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "custom_tool_call",
            "status": status,
            **self._members,
            "input": text,
        }


class _Search(_OutputItem):
    """Encodes the call of the search for tools; it has no events of its own for its arguments."""

    prefix = "tsc"

    def __init__(self, events: _Events, index: int) -> None:
        super().__init__(events, index)
        self._call_id = new_id("call")

    def opening(self) -> bytes:
        return self._added(self._item("in_progress", {}))

    def delta(self, text: str) -> bytes:
        self._texts.append(text)
        return b""

    def whole(self, status: str) -> dict[str, Any] | None:
        with suppress(ValueError, RecursionError):
            return self._item("completed", json.loads("".join(self._texts)))
        return None

    def closing(self, whole: dict[str, Any]) -> bytes:
        return self._done(whole)

    def _item(self, status: str, arguments: Any) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "tool_search_call",
            "status": status,
            "execution": "client",
            "call_id": self._call_id,
            "arguments": arguments,
        }


def _call(tool: Tool | None, name: str, events: _Events, index: int) -> _OpenItem:
    """Return the item of a call. name: of the tool, as the model sees it."""
    if tool is None:
        return _Call(name, "", events, index)
    if tool.kind == "search":
        return _Search(events, index)
    space = tool.namespace
    name = name.removeprefix(f"{space}.") if space else name
    kind = _TextCall if tool.kind == "text" else _Call
    return kind(name, space, events, index)


def _is_json(text: str) -> bool:
    with suppress(ValueError, RecursionError):
        json.loads(text)
        return True
    return False
