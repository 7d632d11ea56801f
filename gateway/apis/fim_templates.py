"""Parses fill-in-the-middle prompts: a prompt -> the texts before and after the cursor.

Editors mark the place of the cursor in the prompt, in the notation of the model that they
are configured for. The prompt itself shows the notation; the model's name does not. The rules
are in docs/decisions/fim-markers.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from gateway.apis.fim_headers import FILE_SEPARATORS, is_header, split_prefix
from gateway.generation.request import Fill


@dataclass(frozen=True, slots=True)
class FimTemplate:
    """Describes one notation by its markers.

    prefix, suffix, middle: the markers before the prefix, the suffix and the gap.
    ends_with_prefix: whether the gap may be at the end of the prompt, without `middle`; then
        the suffix comes first.
    blanks: whether blanks around the markers belong to the notation.
    """

    prefix: str
    suffix: str
    middle: str
    ends_with_prefix: bool = False
    blanks: bool = False

    @property
    def markers(self) -> tuple[str, str, str]:
        """Return all markers."""
        return self.prefix, self.suffix, self.middle


# Wire rule D4, and what the models' tokenizers and the editors' sources have.
TEMPLATES = (
    # Qwen Coder, CodeGemma, Granite 4, Yi Coder, Mercury
    FimTemplate("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    # StarCoder, Stable Code, Granite 3, Mellum, Refact, CodeQwen
    FimTemplate("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    FimTemplate("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    FimTemplate("<|fim-prefix|>", "<|fim-suffix|>", "<|fim-middle|>"),  # the same, typed
    FimTemplate("<FIM_PREFIX>", "<FIM_SUFFIX>", "<FIM_MIDDLE>"),
    FimTemplate("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek Coder
    FimTemplate("<|fim▁begin|>", "<|fim▁hole|>", "<|fim▁end|>"),  # the same, typed
    FimTemplate("<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>"),
    FimTemplate("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"),  # Seed-Coder
    FimTemplate("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # CodeGeeX, GLM
    FimTemplate("<|prefix|>", "<|suffix|>", "<|middle|>"),
    FimTemplate("<PRE>", "<SUF>", "<MID>", blanks=True),  # Code Llama
    FimTemplate("[PREFIX]", "[SUFFIX]", "[MIDDLE]", ends_with_prefix=True),  # Codestral
)

_MIDDLES = tuple(template.middle for template in TEMPLATES)
_QUOTES = frozenset("\"'`")
# "▁" is how Code Llama's tokenizer writes a blank.
_BLANKS = (" ", "▁")
_STARTS = ("<s>", "<bos>", "<｜begin▁of▁sentence｜>", "<|begin_of_text|>", "<|endoftext|>")
_TURN_ENDS = (
    "<|im_start|>assistant",
    "<|im_end|>",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<|start_of_role|>assistant<|end_of_role|>",
    "<|end_of_text|>",
    "<|assistant|>",
    "<|eot_id|>",
    "<|end|>",
    "<start_of_turn>model",
    "<end_of_turn>",
    "[/INST]",
)
_MAX_TURN_ENDS = 4
_FRONT = 100  # characters in which the first marker is at the beginning
# So many places of a marker are compared, at each end and in front: a hostile prompt may have
# millions.
_MAX_PLACES = 64
_MAX_OPENINGS = 16


class _Match(NamedTuple):
    """Describes how one template fits a prompt; the greatest fits best.

    opened: whether a marker begins the prompt, or follows the header of a file.
    closed: whether a marker ends the prompt.
    """

    opened: bool
    closed: bool
    earlier: int  # minus the position of the first marker
    template: FimTemplate
    header: str
    prefix: str
    suffix: str


def parse_fim_prompt(prompt: str) -> tuple[Fill, tuple[str, ...]] | None:
    """Return the texts around the cursor and the notation's markers; None for a plain prompt.

    A model that writes one of the markers has finished its answer. Other files before the
    current one are left out: the upstream takes one file.
    """
    whole = _without_turn_end(prompt)
    best = _best_match(whole)
    if best is None:
        return None
    filename, prefix = split_prefix(best.prefix, best.header)
    markers = [mark for mark in best.template.markers if mark in whole]
    # A model that begins the next file has finished this one.
    markers += [mark for mark in FILE_SEPARATORS if mark in best.header]
    return Fill(prefix, best.suffix, filename), tuple(markers)


def plain_fill(prompt: str, suffix: str = "") -> Fill:
    """Return the gap at the end of a prompt without markers; other files are left out."""
    filename, prefix = split_prefix(prompt)
    return Fill(prefix, suffix, filename)


def ends_turn(prompt: str) -> bool:
    """Return whether a prompt ends with the marker of a chat template: it asks for an answer."""
    return prompt.rstrip().endswith(_TURN_ENDS)


def _without_turn_end(prompt: str) -> str:
    """Return the prompt without the markers with which a chat template ends it."""
    text = prompt
    for _ in range(_MAX_TURN_ENDS):
        stripped = text.rstrip()
        mark = next((mark for mark in _TURN_ENDS if stripped.endswith(mark)), None)
        if mark is None:
            break
        text = stripped.removesuffix(mark)
    if text is prompt:
        return prompt
    text = text.rstrip()
    # Otherwise these markers are the end of the user's own text.
    return text if text.endswith(_MIDDLES) else prompt


def _best_match(prompt: str) -> _Match | None:
    """Return how the template that the prompt proves best fits."""
    front = prompt[:_FRONT]
    # Nothing is better than markers at the beginning and at the end: the rest is not searched.
    ordered = sorted(TEMPLATES, key=lambda t: t.prefix not in front and t.suffix not in front)
    best: _Match | None = None
    for template in ordered:
        found = _match(prompt, template)
        if found and found.closed and found.opened and -found.earlier < _FRONT:
            return found
        if found and (best is None or found[:3] > best[:3]):
            best = found
    return best


def _match(prompt: str, template: FimTemplate) -> _Match | None:
    """Return how the template fits, or None if the prompt does not prove it."""
    opening = _opening(prompt, template)
    if opening is None:
        return None
    at, opened = opening
    closed = prompt.rstrip().endswith(template.middle)
    if not opened and (not closed or (at and prompt[at - 1] in _QUOTES)):
        return None  # these markers stand in the text of a plain prompt
    both = template.prefix + template.suffix
    # StarCoder's variant with the prefix behind the last marker.
    prefix_last = not closed and prompt.startswith(both, at)
    if prefix_last:
        start = at + len(both)
        end = _separator(prompt, template, template.middle, start, len(prompt))
        parts: tuple[str, str] | None = "", prompt[start:end]
    else:
        end = len(prompt)
        if closed or not template.ends_with_prefix:
            end = prompt.rfind(template.middle, at)
        parts = _parts(prompt, template, at, end)
    if parts is None or end < 0:
        return None
    prefix, suffix = parts
    begun = prompt[end + len(template.middle) :]
    if template.blanks:
        prefix, suffix, begun = _without_blanks(prefix, suffix, begun)
    elif prefix[:1] == prefix[-1:] == suffix[-1:] == " " and template is TEMPLATES[0]:
        # ProxyAI has blanks at these three places.
        prefix, suffix = prefix[1:-1], suffix[:-1]
    elif begun[:1] == prefix[:1] == prefix[-1:] == suffix[:1] == suffix[-1:] == "\n":
        # A template with each marker in a line of its own, and a line end behind the last one.
        prefix, suffix = prefix[1:-1], suffix[1:-1]
    if prefix and not begun.strip():
        begun = ""  # the line end of a template
    # Text after the last marker is the start of an answer, or the prefix in one more variant
    # of the notation. In both cases it is before the cursor.
    return _Match(opened, closed, -at, template, prompt[:at], prefix + begun, suffix)


def _opening(prompt: str, template: FimTemplate) -> tuple[int, bool] | None:
    """Return where the first marker is, and whether the place proves that it is a marker.

    A file before the current one may have markers too. So a marker directly after the header
    of a file comes before any other.
    """
    if template.prefix not in prompt or template.suffix not in prompt:
        return None
    markers = template.prefix, template.suffix
    places = sorted(p for m in markers for p in islice(_places(prompt, m), _MAX_OPENINGS))
    first = places[0]
    front = prompt[:first].strip(" \r\n\t\ufeff▁") if first < _FRONT else "text"
    while start := next((mark for mark in _STARTS if front.startswith(mark)), None):
        front = front.removeprefix(start).strip()
    if not front:
        return first, True
    for place in places:
        if is_header(prompt[max(0, place - 1200) : place]):
            return place, True
    for place in places:
        if prompt[place - 1] == "\n":
            return place, False
    return first, False


def _parts(prompt: str, template: FimTemplate, at: int, end: int) -> tuple[str, str] | None:
    """Return the prefix and the suffix, in the order in which the prompt has them."""
    prefix_first = prompt.startswith(template.prefix, at)
    if prefix_first and template.ends_with_prefix and not prompt.endswith(template.middle):
        return None
    first, second = template.prefix, template.suffix
    if not prefix_first:
        first, second = second, first
    start = at + len(first)
    place = _separator(prompt, template, second, start, end)
    if place < 0:
        return None
    parts = prompt[start:place], prompt[place + len(second) : end]
    return parts if prefix_first else (parts[1], parts[0])


def _separator(prompt: str, template: FimTemplate, marker: str, start: int, end: int) -> int:
    """Return the place of the marker between two parts, or -1.

    Either part may have the template's markers in its own text. There they mostly come
    together: a template in the source, or a list of stop strings. So the best place is the
    one that leaves both parts with as many markers of one kind as of another. After that a
    place without quotes around it is better, and then a later one.
    """
    places = list(_places(prompt, marker, start, end))
    if template.blanks:
        spaced = [place for place in places if prompt[place - 1] in _BLANKS]
        places = spaced or places
    if len(places) < 2:
        return places[0] if places else -1
    kinds = [mark for mark in template.markers if mark in prompt]
    total = [prompt.count(mark, start, end) for mark in kinds]
    before, counted = [0] * len(kinds), start
    best: tuple[tuple[int, bool, int], int] | None = None
    for place in places:
        before = [
            n + prompt.count(mark, counted, place) for n, mark in zip(before, kinds, strict=True)
        ]
        counted = place
        after = [
            whole - n - (mark == marker)
            for whole, n, mark in zip(total, before, kinds, strict=True)
        ]
        behind = prompt[place + len(marker) : place + len(marker) + 1]
        quoted = prompt[place - 1] in _QUOTES and behind in _QUOTES
        rank = (_imbalance(before) + _imbalance(after), quoted, -place)
        if best is None or rank < best[0]:
            best = rank, place
    return best[1] if best else -1


def _imbalance(counts: list[int]) -> int:
    return max(counts) - min(counts)


def _places(text: str, marker: str, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Yield the first and the last places of a marker, in order."""
    end = len(text) if end is None else end
    for _ in range(_MAX_PLACES):
        at = text.find(marker, start, end)
        if at < 0:
            return
        yield at
        start = at + len(marker)
    last: list[int] = []
    for _ in range(_MAX_PLACES):
        end = text.rfind(marker, start, end)
        if end < 0:
            break
        last.append(end)
    yield from reversed(last)


def _without_blanks(prefix: str, suffix: str, begun: str) -> tuple[str, str, str]:
    """Remove the blanks of Code Llama's notation, `<PRE> a <SUF>b <MID>`.

    twinny has a blank behind `<SUF>` too, and in older versions ` \\n` behind `<PRE>`.
    Some editors write no blanks; then there is none before `<MID>`.
    """
    if not suffix.endswith(_BLANKS):
        return prefix, suffix, begun
    prefix = prefix[2:] if prefix.startswith(" \n") else _cut_blank(prefix)
    prefix = prefix[:-1] if prefix.endswith(_BLANKS) else prefix
    return prefix, _cut_blank(suffix[:-1]), _cut_blank(begun)


def _cut_blank(text: str) -> str:
    return text[1:] if text.startswith(_BLANKS) else text
