"""Parses suggestions: Fitten's answer -> the text to insert at the cursor. No I/O.

The client keeps the text after the cursor. So a suggestion must not repeat it, and must not
have the end markers of a model.
"""

from __future__ import annotations

from typing import Any

from gateway.errors import UpstreamError
from gateway.fitten.completion.document import GapDocument, utf16_length
from gateway.fitten.completion.end_tokens import without_end_tokens
from gateway.fitten.completion.repetition import without_repetition
from gateway.generation.request import Fill


def parse_suggestion(answer: dict[str, Any], document: GapDocument, file: Fill) -> str:
    """Return the text to insert at the cursor; "" when Fitten has no suggestion.

    Fitten may want to replace some of the text after the cursor (`delta_char`). If its text
    ends with what it replaces, that end is removed. Any other replacement cannot be done by
    inserting, so the result is "".

    document: the text that Fitten got.
    file: the text that the client has.

    Raises UpstreamError for a malformed answer.
    """
    text, more = answer.get("generated_text", ""), answer.get("ex_msg", "")
    if not isinstance(text, str) or not isinstance(more, str) or "ori_start_line" in answer:
        raise UpstreamError(
            "Fitten's completion cannot be understood.", code="upstream_invalid_response"
        )
    text = (text + more).replace("\r\n", "\n").replace("\r", "\n")
    text = without_end_tokens(text, file.prefix, file.suffix)
    replaced = _replaced_text(answer, document.suffix)
    if replaced is None or not text.endswith(replaced):
        return ""
    if replaced:
        text = text.removesuffix(replaced)
        return "" if text == file.suffix.partition("\n")[0].removesuffix("\r") else text
    return without_repetition(text, file.prefix, file.suffix)


def _replaced_text(answer: dict[str, Any], suffix: str) -> str | None:
    """Return the text after the cursor that Fitten replaces; None when it cannot be determined."""
    count, lines = answer.get("delta_char") or 0, answer.get("delta_line") or 0
    if type(count) is not int or count < 0 or lines:
        return None
    replaced = suffix.encode("utf-16-le")[: count * 2].decode("utf-16-le", "replace")
    return replaced if suffix.startswith(replaced) and utf16_length(replaced) == count else None
