"""Reads an event stream as a client does, and finds what must not be in it."""

from __future__ import annotations

import json
from typing import Any


class Frames:
    """Reads an event stream piece by piece.

    text: so far, or the arguments of tool calls. code: of the error in it. finish: why it
    ended, as the stream says. done: it had its `[DONE]`. faults: a sentence each for what no
    stream may have.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.text = ""
        self.code: str | None = None
        self.finish: str | None = None
        self.done = False
        self.failed = False
        self.faults: list[str] = []

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the body."""
        *frames, self._rest = (self._rest + data).split(b"\n\n")
        for frame in frames:
            if not frame.startswith(b":"):
                self._frame(frame)

    def end(self) -> None:
        """Finish after a body that ended as HTTP requires."""
        if self._rest:
            self.faults.append("half a frame at the end")
        if not (self.done or self.failed):
            self.faults.append("an end without [DONE] or an error")
        if self.done and not self.failed and self.finish is None:
            self.faults.append("[DONE] without a finish_reason")

    def _frame(self, frame: bytes) -> None:
        if self.done:
            self.faults.append("a frame after [DONE]")
        if self.failed:
            what = "[DONE]" if frame == b"data: [DONE]" else "a frame"
            self.faults.append(f"{what} after an error")
        if frame == b"data: [DONE]":
            self.done = True
            return
        try:
            value = json.loads(frame.removeprefix(b"data: "))
        except ValueError:
            self.faults.append("something that is no frame")
            return
        if "error" in value:
            self.failed = True
            self.code = value["error"]["code"]
        for choice in value.get("choices", ()):
            self.text += text_of(choice)
            finish = choice.get("finish_reason")
            if finish is not None and self.finish is not None:
                self.faults.append("two finish_reasons")
            self.finish = finish or self.finish


def text_of(choice: dict[str, Any]) -> str:
    """Return the text of a choice in any form, or the arguments of its tool calls."""
    inner = choice.get("delta") or choice.get("message") or choice
    calls = inner.get("tool_calls") or ()
    arguments = "".join(call["function"].get("arguments") or "" for call in calls)
    return (inner.get("content") or inner.get("text") or "") + arguments
