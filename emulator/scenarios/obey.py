"""Defines a model that does as it is told: it makes the very calls that a marker describes.

Long texts are not in the marker. The model copies them from the prompt, as it finds them there:
so a text that was changed on its way into the prompt comes back changed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from emulator.scenarios.call_notations import written
from emulator.scenarios.registry import ScenarioTurn, scenario
from emulator.scenarios.tool_use import MadeCall

_TEXT = re.compile(r"^--- text (\d+) ---\n(.*?)\n--- end \1 ---$", re.DOTALL | re.MULTILINE)


@scenario
async def obey(turn: ScenarioTurn, *, calls: str = "[]", say: str = "", piece: int = 4) -> None:
    """Make these calls, a URL-quoted JSON list of `[tool, arguments]`, or say a text.

    The calls are in the notation that the prompt asks for.
    An argument `{"text": n}` is text n of the prompt, between its lines `--- text n ---` and
    `--- end n ---`.
    """
    texts = {int(number): text for number, text in _TEXT.findall(turn.prompt.last_user)}
    made = [
        MadeCall(tool, {name: _filled(value, texts) for name, value in arguments.items()})
        for tool, arguments in json.loads(calls)
    ]
    answer = written(made, "auto", value=turn.prompt.block_value) if made else f"{say}\n"
    step = max(1, piece)
    for start in range(0, len(answer), step):
        await turn.answer.delta(answer[start : start + step], turn.state.pace)
    counts = {"input_tokens": len(turn.inputs) // 3 + 1, "output_tokens": -(-len(answer) // step)}
    await turn.answer.usage({**counts, "status": "ok"})


def _filled(value: Any, texts: dict[int, str]) -> Any:
    """Return the value of an argument; what the prompt lacks is empty."""
    if isinstance(value, dict) and value.keys() == {"text"} and isinstance(value["text"], int):
        return texts.get(value["text"], "")
    return value
