"""A fill-in-the-middle prompt -> the text on either side of the cursor.

Editors write the place of the cursor into the prompt in the notation of the model they think
they speak to. Which one it is shows in the prompt itself, not in the model's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.generation.request import Fill


@dataclass(frozen=True, slots=True)
class FimTemplate:
    """One notation: what stands before the prefix, the suffix and the place to fill.

    middle is "" where the place to fill is simply the end.
    """

    prefix: str
    suffix: str
    middle: str

    @property
    def sentinels(self) -> tuple[str, ...]:
        """Its markers; a model that writes one has come to its end."""
        return tuple(mark.strip() for mark in (self.prefix, self.suffix, self.middle) if mark)


# Wire rules D4. Of two that could both match, the one with the longer markers comes first.
TEMPLATES = (
    FimTemplate("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen, CodeGemma, Granite
    FimTemplate("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # CodeGeeX
    FimTemplate("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Stable Code
    FimTemplate("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
    FimTemplate("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"),  # Seed-Coder
    FimTemplate("<PRE> ", " <SUF>", " <MID>"),  # Code Llama
    FimTemplate("[PREFIX]", "[SUFFIX]", ""),  # Codestral
)

# Where a file's name stands: before the markers, or at the head of a file within the prefix.
_FILE_HEADS = re.compile(
    r"(?:<\|file_sep\|>|<file_sep>|<filename>|^###PATH:|^\+{5} )[ \t]*([^\r\n<]{1,1024})", re.M
)
# So far before the cursor a file's name is looked for; there are millions in a hostile prompt.
_NEAR = 500_000
_FILE_IN_PREFIX = re.compile(r"^\+{5} ([^\r\n]{1,1024})\r?\n", re.M)


def parse_fim_prompt(prompt: str) -> tuple[Fill, tuple[str, ...]] | None:
    """The cursor's two sides, and the notation's own markers; None for a plain prompt.

    Other files that stand before the one in hand are left out: the upstream takes one.
    """
    for template in TEMPLATES:
        if template.prefix in prompt and template.suffix in prompt:
            found = _sides(prompt, template)
            if found is not None:
                header, prefix, suffix = found
                names = _FILE_HEADS.findall(header[-_NEAR:])
                if not template.middle:  # Codestral has its files in the prefix
                    prefix = prefix[-_NEAR:]
                    *_, last = [None, *_FILE_IN_PREFIX.finditer(prefix)]
                    if last is not None:
                        names, prefix = [last[1]], prefix[last.end() :]
                filename = names[-1].strip() if names else ""
                return Fill(prefix, suffix, filename or None), template.sentinels
    return None


def _sides(prompt: str, template: FimTemplate) -> tuple[str, str, str] | None:
    """What stands before the markers, the prefix and the suffix, in whatever order."""
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
    # What stands after the last marker is the prefix of one more notation, or an answer begun.
    return header, prefix + begun, suffix
