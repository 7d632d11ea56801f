"""Defines scenarios with well-formed streams: what was received, chosen texts, chosen timing."""

from __future__ import annotations

import asyncio
import json
import zlib
from hashlib import sha256
from typing import Literal

from emulator.answer import HELLO, HELLO_USAGE, delta_lines, json_line
from emulator.scenarios.registry import ScenarioTurn, scenario

_LONG = 2000


@scenario
async def echo(turn: ScenarioTurn) -> None:
    """One delta with a JSON summary of the prompt, as the emulator understood it."""
    prompt = turn.prompt
    summary = {
        "blocks": [[b.role, _text_or_hash(b.text), len(b.text)] for b in prompt.blocks],
        "model": turn.meta.get("model"),
        "agentModel": turn.meta.get("agentModel"),
        "chars": len(turn.inputs),
        "sha256": _hash(turn.inputs),
        "meta_datas": turn.meta,
        "ends_with_assistant": prompt.ends_with_assistant,
        "prefill": prompt.prefill,
    }
    await turn.answer.delta(json.dumps(summary, ensure_ascii=False))
    await turn.answer.usage()


@scenario
async def say(
    turn: ScenarioTurn,
    *,
    text: str = "Hello",
    piece: int = 4,
    pace: float | None = None,
    value: str = "",
) -> None:
    """The URL-quoted `text`, in deltas of `piece` characters, `pace` seconds apart.

    `value`: what stands in `text` for the block value of the prompt's hybrid notation.
    """
    if value and turn.prompt.block_value:
        text = text.replace(value, turn.prompt.block_value)
    wait = turn.state.pace if pace is None else pace
    step = max(1, piece)
    for start in range(0, len(text), step):
        await turn.answer.delta(text[start : start + step], wait)
    await turn.answer.usage(_usage(turn, -(-len(text) // step)))


_Form = Literal["plain", "fence", "bare", "prose", "broken", "cut"]


@scenario
async def json_answer(
    turn: ScenarioTurn,
    *,
    form: _Form = "plain",
    then: Literal[_Form, "same"] = "same",
    value: str = '{"ok": true}',
    later: str = "",
    piece: int = 4,
    pace: float = 0.0,
) -> None:
    """The URL-quoted JSON `value` in some `form`; the same question again gets `then`, `later`."""
    again = turn.ask() > 1
    if again and then != "same":
        form = then
    text = _formed(later if again and later else value, form)
    for start in range(0, len(text), max(1, piece)):
        await turn.answer.delta(text[start : start + max(1, piece)], pace)
    await turn.answer.usage(_usage(turn, -(-len(text) // max(1, piece))))


@scenario
async def count(turn: ScenarioTurn, *, n: int = 100, size: int = 0, pace: float = 0.0) -> None:
    """`n` deltas `w0 `, `w1 `, ..., filled up to `size` characters: `w0..... `."""
    for number in range(n):
        await turn.answer.delta(_word(number, size), pace)
    await turn.answer.usage(_usage(turn, n))


@scenario
async def burst(turn: ScenarioTurn, *, n: int = 256, size: int = 0) -> None:
    """The deltas of `count` and the usage in one single write."""
    deltas = delta_lines(_word(number, size) for number in range(n))
    await turn.answer.write(deltas + json_line({"usage": _usage(turn, n)}))


@scenario
async def endless(turn: ScenarioTurn, *, pace: float = 0.01, size: int = 0) -> None:
    """The deltas of `count` until the client leaves."""
    number = 0
    while True:
        await turn.answer.delta(_word(number, size), pace)
        number += 1


@scenario
async def slow(turn: ScenarioTurn, *, first: float = 1.0, gap: float = 0.1, n: int = 5) -> None:
    """The head at once, the first delta after `first` seconds, the others `gap` apart."""
    await turn.answer.open()
    await turn.state.pause(first)
    for number in range(n):
        await turn.answer.delta(_word(number, 0))
        await turn.state.pause(gap if number < n - 1 else 0.0)
    await turn.answer.usage(_usage(turn, n))


@scenario
async def silent(turn: ScenarioTurn) -> None:
    """The head, then nothing until the client leaves."""
    await turn.answer.open()
    await asyncio.Event().wait()


@scenario
async def no_headers(turn: ScenarioTurn) -> None:
    """Nothing at all until the client leaves."""
    await asyncio.Event().wait()


@scenario
async def dribble(turn: ScenarioTurn, *, pace: float = 0.05) -> None:
    """Only line feeds, until the client leaves."""
    while True:
        await turn.answer.write(b"\n", pace)


@scenario
async def heartbeats(turn: ScenarioTurn, *, pace: float = 0.0) -> None:
    """Heartbeats before and between the deltas of an ordinary answer, without a pause."""
    heartbeats_between = ("heartbeat", "heartbeat", "heartbeat 3")
    for text in ("heartbeat", "heartbeat 2", HELLO[0], *heartbeats_between, *HELLO[1:]):
        await turn.answer.delta(text, pace)
    await turn.answer.usage()


@scenario
async def heartbeat_word(turn: ScenarioTurn, *, pace: float = 0.0) -> None:
    """An answer in which the bare word is text: `max_heartbeat_interval`, `heartbeat` in a list."""
    for text in ("max_", "heartbeat", "_interval", "\n- ", "heartbeat", "\n", "heartbeat"):
        await turn.answer.delta(text, pace)
    await turn.answer.usage()


@scenario
async def heartbeats_only(turn: ScenarioTurn, *, n: int = 3, pace: float = 0.0) -> None:
    """`n` heartbeats, then the end, without text or usage."""
    for _ in range(n):
        await turn.answer.delta("heartbeat", pace)


@scenario
async def heartbeats_forever(turn: ScenarioTurn, *, pace: float = 0.05) -> None:
    """Heartbeats until the client leaves."""
    while True:
        await turn.answer.delta("heartbeat", pace)


@scenario
async def reasoning(turn: ScenarioTurn) -> None:
    """`reasoning_delta` pieces, one beside an empty `delta`, then the answer."""
    await turn.answer.line({"reasoning_delta": "First, "})
    await turn.answer.line({"reasoning_delta": "greet."})
    await turn.answer.line({"delta": "", "reasoning_delta": " Done."})
    await turn.answer.hello()
    await turn.answer.usage()


@scenario
async def thinking(turn: ScenarioTurn) -> None:
    """The same under its other name, `thinking_delta`."""
    await turn.answer.line({"thinking_delta": "Hm."})
    await turn.answer.hello()
    await turn.answer.usage()


@scenario
async def repetition(turn: ScenarioTurn, *, n: int = 200) -> None:
    """The same words `n` times, as a model caught in a loop."""
    for _ in range(n):
        await turn.answer.delta("again and again ")
    await turn.answer.usage(_usage(turn, n))


@scenario
async def long_line(turn: ScenarioTurn, *, size: int = 1_000_000) -> None:
    """One delta of `size` characters in one line."""
    await turn.answer.delta("x" * size)
    await turn.answer.usage(_usage(turn, 1))


@scenario
async def gzip(turn: ScenarioTurn) -> None:
    """An ordinary answer, gzip-encoded and flushed per line if the client offered gzip."""
    if "gzip" not in turn.answer.call.headers.get("Accept-Encoding", "").lower():
        await turn.answer.hello()
        await turn.answer.usage()
        return
    await turn.answer.open(headers={"Content-Encoding": "gzip"})
    # wbits of 31 selects the gzip format.
    packer = zlib.compressobj(wbits=31)
    for value in [*({"delta": piece} for piece in HELLO), {"usage": HELLO_USAGE}]:
        packed = packer.compress(json_line(value)) + packer.flush(zlib.Z_SYNC_FLUSH)
        await turn.answer.write(packed)
    await turn.answer.write(packer.flush())


def _formed(value: str, form: _Form) -> str:
    match form:
        case "fence":
            return f"```json\n{value}\n```"
        case "bare":
            return f"\n```\n{value}\n```\n"
        case "prose":
            return f"Here you are:\n```json\n{value}\n```\nIs there anything else?"
        case "broken":
            return value[:-1]
        case "cut":
            return f"```json\n{value[:-1]}"
    return value


def _word(number: int, size: int) -> str:
    return f"w{number}".ljust(size - 1, ".") + " "


def _usage(turn: ScenarioTurn, output_tokens: int) -> dict[str, int | str]:
    input_tokens = len(turn.inputs) // 3 + 1
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "status": "ok"}


def _text_or_hash(text: str) -> str:
    return text if len(text) <= _LONG else _hash(text)


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
