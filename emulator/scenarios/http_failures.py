"""Defines scenarios in which HTTP itself fails: error statuses, broken framings, resets."""

from __future__ import annotations

import json
from typing import Literal

from emulator.answer import HELLO, HELLO_USAGE, delta_lines, json_line
from emulator.errors import nginx_page
from emulator.raw_answer import Ending, Framing, RawAnswer
from emulator.scenarios.registry import ScenarioTurn, scenario
from emulator.tokens import EXPIRED

# What a server of this kind would say; only the texts of 401 were ever seen in public.
_DETAILS = {
    400: "Bad request (made up)",
    403: "Not allowed (made up)",
    404: "Not Found",
    413: "Request too large (made up)",
    429: "Too many requests (made up)",
}


@scenario
async def status(
    turn: ScenarioTurn,
    *,
    code: int = 500,
    body: Literal["auto", "json", "html", "empty"] = "auto",
    retry_after: str = "",
    times: int = 0,
) -> None:
    """HTTP status `code`, as HTML from 500 on and as JSON below; `times` times, or always if 0.

    After that the same prompt gets an ordinary answer.
    """
    if times and turn.attempt() > times:
        await _whole(turn)
        return
    headers = {"Retry-After": retry_after} if retry_after else None
    kind = body if body != "auto" else "html" if code >= 500 else "json"
    if kind == "html":
        await turn.answer.open(code, "text/html", headers)
        await turn.answer.write(nginx_page(code).encode())
    elif kind == "json":
        await turn.answer.open(code, "application/json", headers)
        await turn.answer.write(json.dumps({"detail": _detail(code)}).encode())
    else:
        await turn.answer.open(code, "text/plain", headers)


@scenario
async def unauthorized(turn: ScenarioTurn, *, times: int = 1) -> None:
    """HTTP 401 the first `times` times for this prompt, then an ordinary answer."""
    if turn.attempt() <= times:
        await turn.answer.error(401, EXPIRED)
    else:
        await _whole(turn)


@scenario
async def redirect(
    turn: ScenarioTurn,
    *,
    code: int = 307,
    to: str = "https://fitten.example.invalid/codeapi/chat_auth",
) -> None:
    """A redirect to the URL-quoted `to`."""
    await turn.answer.open(code, "text/plain", {"Location": to})


@scenario
async def complete(turn: ScenarioTurn, *, framing: Framing = "chunked") -> None:
    """An ordinary answer, properly ended, in each way HTTP/1.1 can frame it."""
    body = delta_lines(HELLO) + json_line({"usage": HELLO_USAGE})
    raw = RawAnswer(turn.answer, framing)
    raw.head(len(body))
    for line in body.splitlines(keepends=True):
        await raw.write(line)
    raw.complete()


@scenario
async def truncate(
    turn: ScenarioTurn,
    *,
    framing: Framing = "chunked",
    how: Ending = "reset",
    after: int = 2,
    at: Literal["middle", "line"] = "middle",
) -> None:
    """`after` deltas, then a cut: in the middle of the next line or exactly at a line's end."""
    await _cut(turn, framing, how, after, half_line=at == "middle")


@scenario
async def reset(turn: ScenarioTurn, *, after: int = 3) -> None:
    """A connection reset in the middle of the line after `after` deltas."""
    await _cut(turn, "chunked", "reset", after, half_line=True)


@scenario
async def reset_before_headers(turn: ScenarioTurn, *, times: int = 0) -> None:
    """A connection reset in place of an answer; `times` times, or always if 0."""
    if times and turn.attempt() > times:
        await _whole(turn)
    else:
        await RawAnswer(turn.answer).cut("reset")


async def _cut(
    turn: ScenarioTurn, framing: Framing, how: Ending, after: int, *, half_line: bool
) -> None:
    lines = [json_line({"delta": HELLO[number % len(HELLO)]}) for number in range(after)]
    raw = RawAnswer(turn.answer, framing)
    raw.head(sum(map(len, lines)) + 1000)
    for line in lines:
        await raw.write(line)
    if half_line:
        await raw.write(b'{"delta":"wor')
    await raw.cut(how)


async def _whole(turn: ScenarioTurn) -> None:
    await turn.answer.hello()
    await turn.answer.usage()


def _detail(code: int) -> object:
    if code == 422:
        return [{"loc": ["body", "inputs"], "msg": "made up", "type": "value_error"}]
    return EXPIRED if code == 401 else _DETAILS.get(code, "Internal Server Error")
