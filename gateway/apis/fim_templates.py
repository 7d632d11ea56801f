"""Parses fill-in-the-middle prompts: a prompt -> the texts before and after the cursor.

Editors mark the place of the cursor in the prompt, in the notation of the model that they
are configured for. The prompt itself shows the notation; the model's name does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.generation.request import Fill


@dataclass(frozen=True, slots=True)
class FimTemplate:
    """Describes one notation by its markers.

    prefix, suffix, middle: the markers before the prefix, the suffix and the gap. middle is
        "" when the gap is at the end of the prompt.
    """

    prefix: str
    suffix: str
    middle: str

    @property
    def sentinels(self) -> tuple[str, ...]:
        """Return the markers; a model that writes one of them has finished its answer."""
        return tuple(mark.strip() for mark in (self.prefix, self.suffix, self.middle) if mark)


# Wire rule D4. When two could match, the one with the longer markers comes first.
TEMPLATES = (
    FimTemplate("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen, CodeGemma, Granite
    FimTemplate("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # CodeGeeX
    FimTemplate("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Stable Code
    FimTemplate("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
    FimTemplate("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"),  # Seed-Coder
    FimTemplate("<PRE> ", " <SUF>", " <MID>"),  # Code Llama
    FimTemplate("[PREFIX]", "[SUFFIX]", ""),  # Codestral
)

# Where a file's name is: before the markers, or at the head of a file within the prefix.
_FILE_HEADS = re.compile(
    r"(?:<\|file_sep\|>|<file_sep>|<filename>|^###PATH:|^\+{5} )[ \t]*([^\r\n<]{1,1024})", re.M
)
# Characters before the cursor in which file names are searched: a hostile prompt may have
# millions of them.
_SEARCHED = 500_000
_FILE_IN_PREFIX = re.compile(r"^\+{5} ([^\r\n]{1,1024})\r?\n", re.M)


def parse_fim_prompt(prompt: str) -> tuple[Fill, tuple[str, ...]] | None:
    """Return the texts around the cursor and the notation's markers; None for a plain prompt.

    Some editors put other files before the current one. They are left out: the upstream
    takes one file.
    """
    for template in TEMPLATES:
        if template.prefix in prompt and template.suffix in prompt:
            found = _sides(prompt, template)
            if found is not None:
                header, prefix, suffix = found
                names = _FILE_HEADS.findall(header[-_SEARCHED:])
                if not template.middle:  # in Codestral's notation files are in the prefix
                    prefix = prefix[-_SEARCHED:]
                    *_, last = [None, *_FILE_IN_PREFIX.finditer(prefix)]
                    if last is not None:
                        names, prefix = [last[1]], prefix[last.end() :]
                filename = names[-1].strip() if names else ""
                return Fill(prefix, suffix, filename or None), template.sentinels
    return None


def _sides(prompt: str, template: FimTemplate) -> tuple[str, str, str] | None:
    """Return the text before the markers, the prefix and the suffix; their order may vary."""
    at_prefix, at_suffix = prompt.find(template.prefix), prompt.find(template.suffix)
    if not template.middle:
        if at_suffix > at_prefix:
            return None
        suffix = prompt[at_suffix + len(template.suffix) : at_prefix]
        return prompt[:at_suffix], prompt[at_prefix + len(template.prefix) :], suffix
    at_middle = prompt.rfind(template.middle)
    if at_middle < max(at_prefix, at_suffix):
        return None
    begun = prompt[at_middle + len(template.middle) :]
    if at_prefix < at_suffix:
        prefix = prompt[at_prefix + len(template.prefix) : at_suffix]
        suffix = prompt[at_suffix + len(template.suffix) : at_middle]
        header = prompt[:at_prefix]
    else:
        suffix = prompt[at_suffix + len(template.suffix) : at_prefix]
        prefix = prompt[at_prefix + len(template.prefix) : at_middle]
        header = prompt[:at_suffix]
    # Text after the last marker is the start of an answer, or the prefix in one more variant
    # of the notation. In both cases it is before the cursor.
    return header, prefix + begun, suffix
