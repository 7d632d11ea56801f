"""Finds agents that repeat a call which has the same result each time. No I/O.

A model that does not see a way out often repeats a call until its user looks. The history of a
request shows it: each request of an agent has all earlier calls and their results.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway.config.settings import LoopSettings
from gateway.fitten.prompt_limit import MAX_CHARS
from gateway.generation import json_values
from gateway.generation.request import GenerationRequest, Image, Message, ToolCall, ToolChoice

FIRST = 3
"""So many equal calls with equal results are a loop."""

_REMINDER = (
    "(This call has now been made {count} times with the same result. Try something else, or"
    " answer with what is known.)"
)
_LAST = (
    "(This call has now been made {count} times with the same result. No more calls can be made:"
    " answer in plain text with what is known, and say what is missing.)"
)


@dataclass(frozen=True, slots=True)
class Loop:
    """Describes a call that an agent has made again and again.

    count: how often it was made with the same result.
    """

    tool: str
    count: int


def find_loop(messages: Sequence[Message]) -> Loop | None:
    """Return the last call if it was made FIRST times or more.

    Calls are equal if tool, arguments and result are. Only calls since the last text of a user
    count, and only those of the last turn are looked at. Others may stand between them, as in
    the cycle A, B, A, B, A. Arguments are compared as JSON, without regard to the order of
    members. Returns None too if the messages are too long for a prompt anyway.
    """
    if not messages or messages[-1].role != "tool":
        return None
    run, size = _current_run(messages)
    if size > MAX_CHARS:
        return None
    answered = list(_answered_calls(run))
    last_turn = [message for message in run if message.calls][-1:]
    last_calls = {id(call) for message in last_turn for call in message.calls}
    # Without the arguments, which have to be parsed. Hardly any request has such calls.
    alike = Counter([(call.name, result) for call, result in answered])
    counts = Counter(
        [
            (call.name, result, _canonical(call.arguments))
            for call, result in answered
            if alike[call.name, result] >= FIRST
        ]
    )
    found: Loop | None = None
    for call, result in answered:
        if id(call) in last_calls and alike[call.name, result] >= FIRST:
            count = counts[call.name, result, _canonical(call.arguments)]
            if count >= FIRST and (found is None or count > found.count):
                found = Loop(call.name, count)
    return found


def act_on_loop(
    request: GenerationRequest, loop: Loop, settings: LoopSettings
) -> GenerationRequest:
    """Return the request of an agent in a loop, changed if the settings want that."""
    if settings.stop is not None and loop.count >= settings.stop:
        request = _with_note(request, _LAST.format(count=loop.count))
        return replace(request, tool_choice=ToolChoice("none"))
    if settings.remind is not None and loop.count >= settings.remind:
        return _with_note(request, _REMINDER.format(count=loop.count))
    return request


def _current_run(messages: Sequence[Message]) -> tuple[list[Message], int]:
    """Return the messages behind the last text of a user, and how many characters they have."""
    run: list[Message] = []
    size = 0
    for message in reversed(messages):
        if message.role == "user" and (message.text or message.images):
            break
        run.append(message)
        size += len(message.text)
        for call in message.calls:
            size += len(call.arguments)
    run.reverse()
    return run, size


def _answered_calls(run: Sequence[Message]) -> Iterator[tuple[ToolCall, bytes]]:
    """Yield each call that has a result, with the digest of the result."""
    pending: dict[str, ToolCall] = {}
    for message in run:
        for call in message.calls:
            pending[call.id] = call
        if message.role == "tool" and message.call_id in pending:
            yield pending.pop(message.call_id), _digest(message)


def _digest(result: Message) -> bytes:
    digest = hashlib.blake2b(result.text.encode("utf-8", "surrogatepass"), digest_size=16)
    digest.update(b"\0failed" if result.failed else b"\0")
    for image in result.images:
        digest.update((image.data if isinstance(image, Image) else image.url).encode())
    return digest.digest()


def _canonical(arguments: str) -> bytes:
    """Return the digest of arguments: of the same JSON object the same; else of the text."""
    text = arguments or "{}"
    raw = text.encode("utf-8", "surrogatepass")
    if not json_values.exceeds(raw, json_values.MAX_VALUES):
        with suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _with_note(request: GenerationRequest, note: str) -> GenerationRequest:
    """Return the request with a sentence behind the last result."""
    *others, last = request.messages
    text = f"{last.text}\n\n{note}" if last.text else note
    return replace(request, messages=(*others, replace(last, text=text)))
