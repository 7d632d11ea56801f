"""Finds the current file in what editors write before its text: other files and headers.

The upstream takes one file. So the other files of a repository-level prompt are left out, and
the name of the current file is kept.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

# Markers before a file's name; the name ends with the line, or with another marker.
FILE_SEPARATORS = ("<|file_sep|>", "<|file_separator|>", "<file_sep>", "<filename>")
_REPOSITORY_MARKERS = ("<|repo_name|>", "<repo_name>", "<reponame>")
_QUOTES = ('"', "'", "`")
_MAX_NAME = 1024  # characters
_MAX_LINE = _MAX_NAME + 100
# Of each marker so many places are examined, counted from the end: a hostile prompt may have
# millions of them.
_MAX_PLACES = 64

_PATH_COMMENT = re.compile(r"(?:#|//|--|;)[ \t]?([^\s:]{1,1024}\.\w{1,16})[ \t]*")  # ProxyAI
_PATH = re.compile(r"[^\s\"'`()<>;,:=]{1,1024}\.\w{1,16}")
_CODEGEEX_PATH = "###PATH:"
_CODESTRAL_FILE = "+++++ "  # Continue
# twinny names the language in one comment, and the file in the next one.
_TWINNY_HEADER = re.compile(
    r"^[^\w\n]{0,8}Language: [^\n]{1,80} \([\w+#.-]{1,40}\)[^\w\n]{0,8}\n"
    r"[^\w\n]{0,8}(?:File uri|Path): ([^\n]{1,1024})\n",
    re.M,
)
_TWINNY_NAME_END = re.compile(r"[ \t]+\([\w+#.-]{1,40}\)[^\w]{0,8}\Z|[ \t]+[^\w./\\-]{1,4}\Z")
# twinny's context before its header is short.
_TWINNY_SEARCHED = 100_000


def is_header(before: str) -> bool:
    """Return whether the text ends with the line that names the current file."""
    line = _last_line(before)
    if line.startswith("###MODE:") or _PATH_COMMENT.fullmatch(line):
        return True
    for separator in FILE_SEPARATORS:
        text, found, name = line.rpartition(separator)
        if found and not text.endswith(_QUOTES) and "<" not in name.partition("<gh_stars>")[0]:
            return True
    return False


def name_in_header(header: str) -> str | None:
    """Return the name of the current file: the last one in the text before the markers."""
    line = _last_line(header)
    if comment := _PATH_COMMENT.fullmatch(line):
        return comment[1]
    at, marker = max((header.rfind(m), m) for m in (*FILE_SEPARATORS, _CODEGEEX_PATH))
    return None if at < 0 else _name(header, at + len(marker))[0]


def split_prefix(prefix: str, header: str = "") -> tuple[str | None, str]:
    """Return the name of the file that the cursor is in, and its text without headers.

    header: the text before the markers of the prompt.
    """
    name = name_in_header(header) if header else None
    if prefix.lstrip().startswith((*FILE_SEPARATORS, *_REPOSITORY_MARKERS)):
        inner, prefix = _after_separator(prefix)
        name = inner or name
    elif name is None and header.rstrip().endswith("<file_sep>"):
        # StarCoder 2 has the name behind the marker of the prefix.
        line, end, rest = prefix.partition("\n")
        if end and _PATH.fullmatch(line.rstrip("\r")):
            name, prefix = line.rstrip("\r"), rest
    for after in (_after_twinny_header, _after_codestral_file):
        inner, prefix = after(prefix)
        name = inner or name
    return name, prefix


def _last_line(text: str) -> str:
    """Return the last line that is not empty, if it is not too long for a name."""
    tail = text[-_MAX_LINE:].rstrip("\r\n")
    return tail[tail.rfind("\n") + 1 :]


def _name(text: str, start: int) -> tuple[str | None, int]:
    """Return the name that begins there, and where its line ends."""
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    name = text[start : min(end, start + _MAX_NAME)].partition("<")[0].strip()
    return name or None, end


def _after_separator(text: str) -> tuple[str | None, str]:
    """Return the name and the text of the last file."""
    places = (_last_separator(text, separator) for separator in FILE_SEPARATORS)
    name, end = max((place for place in places if place), key=lambda p: p[1], default=(None, -1))
    return name, text[end + 1 :]


def _last_separator(text: str, separator: str) -> tuple[str | None, int] | None:
    """Return the last name after a separator, and where its line ends.

    A marker behind a quote is no separator, nor is an XML element: the file itself has them.
    """
    place = len(text)
    for _ in range(_MAX_PLACES):
        place = text.rfind(separator, 0, place)
        if place < 0:
            break
        name, end = _name(text, place + len(separator))
        element = text.find("</", place, min(end, place + _MAX_LINE)) >= 0
        if not element and not text.endswith(_QUOTES, 0, place):
            return name, end
    return None


def _after_twinny_header(text: str) -> tuple[str | None, str]:
    searched = text[:_TWINNY_SEARCHED]
    found = _TWINNY_HEADER.search(searched) if "Language: " in searched else None
    before = text[: found.start()] if found else ""
    # In front of the header are other files at most, which end with an empty line.
    if found is None or (before.strip() and not before.endswith("\n\n")):
        return None, text
    name = _TWINNY_NAME_END.sub("", found[1].strip())
    if name.startswith("file://"):
        name = unquote(name.removeprefix("file://"))
    return name.strip() or None, text[found.end() :]


def _after_codestral_file(text: str) -> tuple[str | None, str]:
    """Return the name and the text after the last `+++++ name` line.

    A text that does not begin with such a line has other context in front, and a blank line.
    """
    whole = text.lstrip().startswith(_CODESTRAL_FILE)
    before = "\n" if whole else "\n\n"
    at = text.rfind(before + _CODESTRAL_FILE)
    if at < 0 and not whole:
        return None, text
    start = text.find(_CODESTRAL_FILE, max(at, 0)) + len(_CODESTRAL_FILE)
    name, end = _name(text, start)
    return name, text[end + 1 :]
