"""Reads prompts for completions at the cursor: prompt and suffix -> a fill and its stop strings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gateway.apis import fim_templates
from gateway.apis.parameters import WholeNumber, whole_number
from gateway.generation.request import Fill

# Wire rule D4: OpenAI's own default, 16, would cut nearly every completion.
_DEFAULT_MAX_TOKENS = 128

ParsedFill = tuple[Fill, tuple[str, ...]]
"""Holds a fill and the markers that its prompt has."""


def completion_limit(given: WholeNumber | None, param: str) -> int:
    """Return how many tokens a completion may have.

    -1 means no limit at llama.cpp; here a completion without a limit has the default one. With 0
    nothing is generated: clients open connections so.
    """
    limit = -1 if given is None else whole_number(given, param)
    return _DEFAULT_MAX_TOKENS if limit < 0 else limit


def parse_fill(prompt: str, suffix: str | None) -> ParsedFill:
    """Use the suffix if there is one, else a notation in the prompt (wire rule D4).

    Without either of them the whole prompt is the prefix. Returns the markers too.
    """
    if suffix:
        return fim_templates.plain_fill(prompt, suffix), ()
    return fim_templates.parse_fim_prompt(prompt) or (fim_templates.plain_fill(prompt), ())


def ending_markers(parsed: Sequence[ParsedFill]) -> tuple[str, ...]:
    """Return the markers that end an answer and are no part of it."""
    markers = dict.fromkeys(marker for _, found in parsed for marker in found)
    return tuple(_ends(markers, [fill for fill, _ in parsed]))


def _ends(markers: Iterable[str], fills: Sequence[Fill]) -> Iterator[str]:
    """Yield the markers that no file has: there, a marker is ordinary text."""
    for marker in markers:
        if not any(marker in fill.prefix or marker in fill.suffix for fill in fills):
            yield marker
