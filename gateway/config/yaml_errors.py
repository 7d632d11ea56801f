"""Describes errors of the YAML parser in plain words, and finds their lines.

The parser's own texts name its tokens, and some of them quote the file.
"""

from __future__ import annotations

import re

import yaml
from yaml.reader import ReaderError

_QUOTED_TEXT = "put the text in quotes"
_INDENTATION = (
    "the line is indented differently from those before it, or the text before it has not ended"
)
# The first row whose pattern is in the parser's message counts.
_MEANINGS = (
    (r"mapping values are not allowed", "there is a second ': ' in a line, or a wrong "
     f"indentation; {_QUOTED_TEXT} if it has a colon"),
    (r"character '\\t' that cannot start", "a line is indented with a tab; use spaces"),
    (r"character '%' that cannot start", f"text cannot begin with %; {_QUOTED_TEXT}"),
    (r"character '[@`]' that cannot start", f"text cannot begin with @ or `; {_QUOTED_TEXT}"),
    (r"cannot start any token", f"a character that cannot begin text; {_QUOTED_TEXT}"),
    (r"unknown escape character|escape sequence", "a backslash in double quotes must begin an "
     "escape such as \\n; use single quotes"),
    (r"unexpected end of stream", "a quote is opened here and not closed"),
    (r"unexpected document separator", "a quote is opened here and not closed before '---'"),
    (r"undefined alias", f"* refers to an anchor that does not exist; {_QUOTED_TEXT}"),
    (r"duplicate anchor", "an anchor (&) is defined twice"),
    (r"alphabetic or numeric character", f"text cannot begin with & or *; {_QUOTED_TEXT}"),
    (r"tag", f"text cannot begin with !, which begins a tag; {_QUOTED_TEXT}"),
    (r"',' or '}'", "a '}' or a comma is missing"),
    (r"',' or '\]'", "a ']' or a comma is missing"),
    (r"invalid indentation or unclosed", "a '[' or '{' is not closed, or a line is not indented"),
    (r"expected ':'", "a name without ': ' after it, with a space"),
    (r"sequence entries are not allowed", "'- ' cannot begin an item here; begin a line with it"),
    (r"mapping keys are not allowed", f"'? ' cannot be here; {_QUOTED_TEXT}"),
    (r"single document", "'---' begins a second document; a configuration has only one"),
    (r"<document start>", "text that belongs to nothing before it; is a line above it wrong?"),
    (r"directive|version", f"% begins a directive; {_QUOTED_TEXT}"),
    (r"<block end>", _INDENTATION),
    (r"node content", "a value is missing, or begins with a character that cannot begin one"),
    (r"chomping|indentation indicator|comment or a line break", "| and > begin a text of several "
     f"lines; {_QUOTED_TEXT}"),
)  # fmt: skip
_IPV6 = re.compile(r":\s+\[?[0-9a-fA-F]*::")
_OTHER = "a mistake that YAML does not allow"


def describe(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Return the line of an error of the parser, and what is wrong in plain words.

    text: the file's content. Nothing of it is in the result: it may be a secret.
    """
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return line, "a control character, which no text file has; write it as an escape"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else 1
    problem = str(getattr(error, "problem", None) or "")
    context = str(getattr(error, "context", None) or "")
    began = getattr(error, "context_mark", None)
    if began is not None and "quoted scalar" in context and "unexpected" in problem:
        line = began.line + 1
    written = "".join(text.split("\n")[line - 1 : line])
    if _IPV6.search(written):
        return line, "write an IPv6 address in quotes and without brackets, such as '::'"
    if re.match(r" *\t", written):
        return line, _meaning_of("found character '\\t' that cannot start any token")
    return line, _meaning_of(f"{context} {problem}" if "single document" in context else problem)


def _meaning_of(problem: str) -> str:
    return next((means for pattern, means in _MEANINGS if re.search(pattern, problem)), _OTHER)
