"""Finds the end tokens of models in suggestions: what follows one is no suggestion. No I/O."""

from __future__ import annotations

import re
from itertools import islice

_MAX_EXAMINED = 2000  # characters of each line that are searched for quotes
# Protocol 6.1: Fitten's own end marker may stand anywhere.
_END_OF_TEXT = re.compile(r"<[|｜]end[_▁]?of[_▁]?text[|｜]>")
# Control tokens of the families whose prompts editors write. What follows is no suggestion.
_TOKENS = re.compile(
    r"<[|｜](?:fim[_▁-](?:prefix|suffix|middle|pad|begin|hole|end)|code_(?:prefix|suffix|middle)"
    r"|(?:repo_name|file_sep|file_separator|cursor|eot_id|eom_id|im_start|im_end|end_of_turn"
    r"|start_header_id|end_header_id|start_of_role|end_of_role|return|endofmask|pad"
    r"|end|eos|eos_token|user|assistant|system|EOT)"
    r"|(?:begin|end)[_▁]of[_▁](?:sentence|text))[|｜]>"
    r"|</?fim[_-](?:prefix|suffix|middle|pad)>|<(?:file_sep|repo_name)>"
    r"|<\[(?:fim-(?:prefix|suffix|middle)|(?:begin|end)▁of▁sentence|PAD▁TOKEN)\]>|[ ▁]?<EOT>"
)
# These are ordinary text elsewhere, so they are removed only at the end.
_LAST_TOKENS = ("</s>", "<eos>", "<pad>", "<end_of_turn>", "<SUF>", "<MID>")
_MAX_LAST_TOKENS = 8
_MAX_TEXT = 100_000  # characters that are searched
_MAX_TOKENS = 64  # of which the place is checked
_QUOTES = "\"'`"


def without_end_tokens(text: str, prefix: str, suffix: str) -> str:
    """Return the text up to the first end token of a model.

    A token in a string, or one that the file has too, is ordinary text.
    """
    if "<" not in text:
        return text
    if len(text) > _MAX_TEXT:  # far more than any limit of tokens lets through
        return text.replace("<|endoftext|>", "")
    tokens = _OwnTokens(prefix, suffix)
    kept, at = [], 0
    for count, found in enumerate(_END_OF_TEXT.finditer(text)):
        if count >= _MAX_TOKENS or not tokens.in_string(text, found.start(), found.end()):
            kept.append(text[at : found.start()])
            at = found.end()
    text = "".join(kept) + text[at:]
    for found in islice(_TOKENS.finditer(text), _MAX_TOKENS):
        if not tokens.ordinary(text, found.start(), found.end()):
            text = text[: found.start()]
            break
    for _ in range(_MAX_LAST_TOKENS):
        stripped = text.rstrip()
        last = next((token for token in _LAST_TOKENS if stripped.endswith(token)), None)
        if last is None:
            break
        start = len(stripped) - len(last)
        struck = last == "</s>" and "<s>" in tokens.line + text  # HTML
        if struck or tokens.ordinary(text, start, len(stripped)):
            break
        text = text[:start]
    return text


class _OwnTokens:
    """Tells tokens that are ordinary text from those of a model."""

    def __init__(self, prefix: str, suffix: str) -> None:
        self._prefix = prefix
        self._suffix = suffix
        self._found: dict[str, bool] = {}
        self.line = prefix[-_MAX_EXAMINED:].rpartition("\n")[2]
        self._rest = suffix[:_MAX_EXAMINED].partition("\n")[0]

    def ordinary(self, text: str, start: int, end: int) -> bool:
        """Return whether the token is in a string, or in the file too."""
        token = text[start:end].strip(" ▁")
        if token not in self._found:
            self._found[token] = token in self._prefix or token in self._suffix
        return self._found[token] or self.in_string(text, start, end)

    def in_string(self, text: str, start: int, end: int) -> bool:
        """Return whether the token is in a string that ends in the same line."""
        before = text[max(0, start - _MAX_EXAMINED) : start]
        after = text[end : end + _MAX_EXAMINED]
        if start < _MAX_EXAMINED:
            before = self.line + before
        if end + _MAX_EXAMINED > len(text):
            after += self._rest
        return _in_string(before, after)


def _in_string(before: str, after: str) -> bool:
    """Return whether a place is in a string that ends in the same line."""
    quote = ""
    escaped = False
    for char in before.rpartition("\n")[2]:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == quote:
            quote = ""
        elif not quote and char in _QUOTES:
            quote = char
    return bool(quote) and quote in after.partition("\n")[0]
