"""Answers a prompt without a marker: an assistant that reports what it received."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import cycle

from emulator.scenarios import agent
from emulator.scenarios.registry import ScenarioTurn

_LONG = 600
_HEAD = 80
_CJK = r"\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef"
_TOKEN = re.compile(rf"[{_CJK}]{{1,3}}|[^\s{_CJK}]+\s*|\s+")
_ASKS_FOR_SUMMARY = re.compile(
    r"^(You are performing a CONTEXT CHECKPOINT COMPACTION"
    r"|Your task is to create a detailed summary of)",
    re.MULTILINE,
)
_IMAGE = re.compile(r"!\[[^\]\n]*\]\(data:image/[^)\s]*\)")


async def assistant(turn: ScenarioTurn, *, unknown: str = "") -> None:
    """Use the tools of the prompt, or describe it in friendly words; then send the usage."""
    if asks_for_summary(turn):
        text = _summary(turn)
    else:
        text = agent.use_tools(turn) or describe(turn, unknown)
    count = 0
    for piece in pieces(text):
        await turn.answer.delta(piece, turn.state.pace)
        count += 1
    usage = {"input_tokens": len(turn.inputs) // 3 + 1, "output_tokens": count, "status": "ok"}
    await turn.answer.usage(usage)


def asks_for_summary(turn: ScenarioTurn) -> bool:
    """Return whether an agent asks for a summary; a marker in its text is one of an old turn."""
    return _ASKS_FOR_SUMMARY.search(turn.prompt.last_user) is not None


def _summary(turn: ScenarioTurn) -> str:
    """Return a summary in the form that agents read."""
    count = _counted(turn.prompt.earlier_turns, "earlier turn")
    return f"<analysis>I look back.</analysis>\n<summary>It had {count}.</summary>\n"


def describe(turn: ScenarioTurn, unknown: str = "") -> str:
    """Return the assistant's text about a prompt; `unknown` names an unknown marker."""
    prompt = turn.prompt
    message, images = _IMAGE.subn("", prompt.last_user)
    lines = ["Hello! I am the Fitten emulator, so no model has read this."]
    if unknown:
        lines.append(f"I know no scenario named {unknown!r}, so I take [[{unknown}]] for text.")
    lines.append(_quoted(message.strip()))
    if images:
        lines.append(f"It came with {_counted(images, 'image')}.")
    lines.append(f"Before it I see {_counted(prompt.earlier_turns, 'earlier turn')}.")
    if prompt.system:
        lines.append(f"The system text is {_shortened(prompt.system)}")
    lines.append(f"The model you chose: {_model(turn)}.")
    return "\n\n".join(lines) + "\n"


def pieces(text: str) -> Iterator[str]:
    """Cut a text into what a model would send at a time: 1 to 4 words, or 1 to 3 Han letters."""
    sizes = cycle((1, 2, 1, 3, 4, 2))
    words: list[str] = []
    size = next(sizes)
    for token in _TOKEN.findall(text):
        words.append(token)
        if len(words) >= size or not token.isascii():
            yield "".join(words)
            words, size = [], next(sizes)
    if words:
        yield "".join(words)


def _quoted(message: str) -> str:
    if not message:
        return "You wrote nothing."
    if len(message) <= _LONG:
        return f"You wrote: {message}"
    return f"You wrote {len(message):,} characters, beginning with: {message[:_HEAD]}..."


def _shortened(text: str) -> str:
    if len(text) <= _LONG:
        return f'"{text}"'
    return f'{len(text):,} characters long and begins with "{text[:_HEAD]}..."'


def _model(turn: ScenarioTurn) -> str:
    for member in ("agentModel", "model"):
        if name := turn.meta.get(member):
            return f"{name} (as {member})"
    return "none, so the default"


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
