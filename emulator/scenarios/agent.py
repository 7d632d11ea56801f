"""Defines an assistant that uses tools: it calls one, and answers from the result."""

from __future__ import annotations

import json

from emulator.scenarios import tool_use
from emulator.scenarios.call_notations import CallNotation, Quirk, written
from emulator.scenarios.registry import ScenarioTurn, scenario
from emulator.scenarios.tool_use import MadeCall


@scenario
async def call(
    turn: ScenarioTurn,
    *,
    notation: CallNotation = "auto",
    quirk: Quirk = "none",
    tool: str = "",
    arguments: str = "",
    n: int = 1,
    piece: int = 4,
) -> None:
    """Call an offered tool, or any `tool` with URL-quoted JSON `arguments`, in a notation.

    `auto` is the notation that the prompt asks for. `n` calls tools in the order in which they are
    offered, each once.
    """
    offered = tool_use.offered(turn.prompt)
    text = turn.prompt.last_user.partition("[[")[0]
    if tool:
        made = [MadeCall(tool, json.loads(arguments or "{}"))]
    elif n > 1:
        made = [tool_use.made_up(one, text) for one in offered[:n]]
    else:
        made = [tool_use.made_up(tool_use.choose(offered, text), text)] if offered else []
    value = turn.prompt.block_value
    answer = written(made, notation, quirk, value) if made else "I have no tools.\n"
    await _send(turn, answer, piece)


@scenario
async def ignore_tools(turn: ScenarioTurn) -> None:
    """An ordinary answer in text, whatever tools are offered and demanded."""
    await _send(turn, "I would rather just talk.\n", 4)


@scenario
async def fragment(turn: ScenarioTurn) -> None:
    """Only a fragment of the prompt: the list of tools, as a confused model repeats it."""
    await _send(turn, turn.prompt.system[-200:] + "\n", 7)


def use_tools(turn: ScenarioTurn) -> str | None:
    """Return what the assistant writes if tools or their results are in the prompt, else None."""
    if given := tool_use.results(turn.prompt):
        return tool_use.answer(given)
    if offered := tool_use.offered(turn.prompt):
        text = turn.prompt.last_user
        made = tool_use.made_up(tool_use.choose(offered, text), text)
        return written([made], "auto", value=turn.prompt.block_value)
    return None


async def _send(turn: ScenarioTurn, text: str, piece: int) -> None:
    step = max(1, piece)
    for start in range(0, len(text), step):
        await turn.answer.delta(text[start : start + step], turn.state.pace)
    counts = {"input_tokens": len(turn.inputs) // 3 + 1, "output_tokens": -(-len(text) // step)}
    await turn.answer.usage({**counts, "status": "ok"})
