"""Decides what may be shown: of clients' values, secrets, exceptions, configurations and log lines.

No other module has a rule of its own. Where a text goes, a function here says what it may hold.
"""

from __future__ import annotations

import base64
import json
import os
import re
import traceback
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

# What a secret looks like, and what stands in its place.

MASK = "****"
"""Stands in place of a secret."""

HIDDEN = "..."
"""Stands in place of another value that is not shown."""

_MIN_LENGTH = 4  # characters; masking shorter secrets would make texts unreadable
# Of OpenAI's keys, of JSON Web Tokens, of Fitten's tokens, and of keys made at run time.
_KEY_STARTS = ("sk-", "eyJ", "FT_", "fg-", "fga-")
_KEY_START = "|".join(_KEY_STARTS)
_KEY = (
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+|FT_[\w-]{16,}"
    r"|(?<![\w-])(?:sk-[\w-]{16,}|fga?-[a-z2-7]{12}-\w{16,})"
)
# Text that looks like a secret is masked even if it is not known as one.
_LOOKS_SECRET = re.compile(rf"(?i:bearer)\s+(?!\*\*\*\*)[^\s\"'\\]+|{_KEY}")
# In a longer word, a search for tokens would read the rest of the word at each `eyJ`.
_LONG_WORD = re.compile(r"(?<![\w-])[\w-]{512,}+")
# Before a pattern of short texts: what begins like a key may be a part of one.
_NO_KEY = rf"(?!{_KEY_START})(?!.*(?:{_KEY}))"


# Values that a client sent.

_WORD = re.compile(_NO_KEY + r"[\w.:/-]+", re.ASCII)
_REQUEST_ID = re.compile(r"(?=[A-Za-z0-9._-]{1,64}\Z)" + _NO_KEY + ".+")
_MAX_PATH_PARTS = 8  # parts of a path that a message shows
_MAX_PATH_PART = 24  # characters
_BEFORE_KEY = "k"  # the part of a path before a key; it may stand in the wrong place
_METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
)
_MIN_RECOGNISED = 16  # characters of a key of which the last four are shown

is_request_id = _REQUEST_ID.fullmatch
"""Return a match if a text may be the id of a request, in every log line and in the answer.

It has 1 to 64 letters, digits, `.`, `_` or `-`, and does not look like a key.
"""


def word(value: str, *, longest: int = 64) -> str:
    """Return a value that the client sent, as messages may show it; `...` for all but words.

    A value that is no word, or is longer than `longest` characters, may be a prompt in the
    wrong place. A value that looks like a key may be one.
    """
    return value if len(value) <= longest and _WORD.fullmatch(value) else HIDDEN


def shown_path(path: str) -> str:
    """Return enough of a path to see a wrong base URL, but no key or prompt in it."""
    parts = path.split("/", _MAX_PATH_PARTS)
    shown = [word(part, longest=_MAX_PATH_PART) if part else "" for part in parts]
    for index, part in enumerate(parts[:-1]):
        if part == _BEFORE_KEY and shown[index + 1]:
            shown[index + 1] = HIDDEN
    return "/".join(shown)


def shown_method(method: str) -> str:
    """Return a method as messages show it; other methods than the known ones are client text."""
    return method if method in _METHODS else HIDDEN


def logged_method(method: str) -> str:
    """Return a method as the log shows it; other methods than the known ones are client text."""
    return method if method in _METHODS else "(other)"


def masked_key(key: str) -> str:
    """Return enough of a client's key to recognise it, and not enough to use or guess it."""
    recognisable = len(key) >= _MIN_RECOGNISED and key.isascii() and key.isprintable()
    return MASK + (key[-4:] if recognisable else "")


# The configuration.

_MAX_NAME = 42  # characters, as in the pattern
_MAX_FACTORY = 261
# A longer name, or one with more digits, may be a secret in the wrong place.
_NAME = re.compile(_NO_KEY + r"[A-Za-z_.-]{0,40}[0-9]{0,2}")
_NAME_START = re.compile(rf"(?!{_KEY_START})[A-Za-z_.-]{{0,40}}(?=[:=\s])|.{{0,3}}", re.DOTALL)
_FACTORY = re.compile(_NO_KEY + r"[\w./]{0,200}:\w{0,60}")


def masked_name(name: Any) -> str:
    """Return a name as mistakes show it.

    Of `password:abc`, where a space is missing, only `password****` is shown.
    """
    text = str(name)
    if len(text) <= _MAX_NAME and _NAME.fullmatch(text):
        return text
    start = _NAME_START.match(text)
    return f"{start[0] if start else ''}{MASK}"


def shown_factory(name: str) -> str:
    """Return a middleware's name as mistakes show it; it may be `package.module:factory`."""
    if len(name) <= _MAX_FACTORY and _FACTORY.fullmatch(name):
        return name
    return masked_name(name)


def kind_of(data: Any) -> str:
    """Return the kind of a value, never the value: it may be a secret in the wrong place."""
    if data is None:
        return "nothing"
    for kinds, name in (
        ((bool,), "true or false"),
        ((int, float), "a number (write it in quotes if it is text)"),
        ((str,), "text"),
        ((list, tuple), "a list"),
        ((dict,), "a mapping"),
    ):
        if isinstance(data, kinds):
            return name
    return type(data).__name__


# Exceptions.

# The interpreter's own texts have only names and types; the text of a `raise` may have more.
_BY_INTERPRETER = (AttributeError, NameError, TypeError, RecursionError, ZeroDivisionError)
_BY_IMPORT = (ImportError, ModuleNotFoundError, SyntaxError, IndentationError, TabError)
# A longer text is refused before a key is searched in it, which takes a while.
_MAX_MODULE_NAME = 100  # characters
_MODULE_NAME = re.compile(_NO_KEY + r"[\w.]+", re.ASCII)


def exception_text(error: BaseException) -> str:
    """Return the text of an exception as the log shows it, if it cannot quote a prompt.

    Of a system error its name is shown, of most other texts their length. Errors of the gateway's
    own are not for this function: their messages are written for clients, and quote nothing.
    """
    if isinstance(error, OSError) and (text := _system_text(error)):
        return text
    try:
        text = str(error)
    except Exception:  # a `__str__` of other code may raise anything
        return "(no text: __str__ failed)"
    if not text or _is_harmless(error):
        return text
    return f"({len(text)} characters that are not logged)"


def os_error_text(error: BaseException) -> str:
    """Return why a system call failed, for the log and for a status line.

    An error that is not the system's may have any text, so its kind is shown.
    """
    text = _system_text(error) if isinstance(error, OSError) else ""
    return text or type(error).__name__


def os_error_and_file(error: OSError) -> str:
    """Return why a system call failed, and for which file, for the log at a start or a reload.

    Nothing of a client is in such an error, and the log masks what is secret.
    """
    named = _system_text(error) and isinstance(error.filename, str)
    return f"{os_error_text(error)}: {error.filename}" if named else os_error_text(error)


def _system_text(error: OSError) -> str:
    """Return the system's name of an error; its own text has a file's name, or worse."""
    known = isinstance(error.errno, int) and error.errno > 0
    return os.strerror(error.errno or 0) if known else ""


def _is_harmless(error: BaseException) -> bool:
    """Return whether the text of an exception has nothing but names of code in it."""
    kind = type(error)
    if kind not in (*_BY_INTERPRETER, *_BY_IMPORT) or _was_raised(error):
        return False
    if isinstance(error, ImportError):
        # A middleware may import a name that a client sent: what is no name stays hidden.
        name = error.name
        return (
            name is not None
            and len(name) <= _MAX_MODULE_NAME
            and _MODULE_NAME.fullmatch(name) is not None
        )
    if isinstance(error, SyntaxError):
        # `compile` of a client's text has no file; a module that is imported has one.
        return error.filename is not None and os.path.isfile(error.filename)
    return True


def _was_raised(error: BaseException) -> bool:
    """Return whether a `raise` outside the import system made it, as far as can be known."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    if frames and frames[0].filename.startswith("<frozen importlib."):
        return False
    line = frames[0].line if frames else None
    return not line or re.search(r"\braise\b", line) is not None


# Log lines, and everything else that may hold a known secret.

_MAX_LEARNT = 256
_MIN_BASE64_BYTES = 8  # bytes; the base64 of shorter secrets has too few characters to find
_ARGUMENTS = re.compile(r"\(.+\)")


def library_message(logger: str, message: str) -> str:
    """Return the message of a library's logger without what may quote a client."""
    if logger != "asyncio":
        return message
    # The other lines have exceptions, connections and arguments of callbacks.
    return _ARGUMENTS.sub("(...)", message.partition("\n")[0])


class Redactor:
    """Masks known secrets, and text that looks like a secret, in a rendered line.

    secrets: from the configuration; they are never forgotten.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._permanent = tuple(s for s in secrets if len(s) >= _MIN_LENGTH)
        self._learnt: OrderedDict[str, set[str]] = OrderedDict()
        self._collect_forms()

    def renew(self, secrets: Iterable[str]) -> None:
        """Replace the secrets of the configuration; the former ones are kept as learnt ones."""
        former = {*self._permanent}
        self._permanent = tuple(s for s in secrets if len(s) >= _MIN_LENGTH)
        for secret in former - {*self._permanent}:
            self.add(secret)
        self._collect_forms()

    def add(self, secret: str) -> None:
        """Mask a secret from now on. Only the last 256 secrets that were added are known."""
        if len(secret) < _MIN_LENGTH or secret in self._learnt:
            return
        self._learnt[secret] = written_forms(secret)
        if len(self._learnt) > _MAX_LEARNT:
            self._learnt.popitem(last=False)
        self._collect_forms()

    def learn_from(self, former: Redactor) -> None:
        """Mask also what another object masks, except what only looks like a secret."""
        for secret in (*former._permanent, *former._learnt):
            if secret not in self._permanent:
                self.add(secret)

    def _collect_forms(self) -> None:
        # No base64 of learnt secrets: there may be hundreds, and each form costs in each line.
        permanent = (written_forms(secret) | base64_forms(secret) for secret in self._permanent)
        known: set[str] = set().union(*permanent, *self._learnt.values())
        self._forms = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, line: str) -> str:
        # No regular expression of all forms: it is slow to compile, and few lines have a secret.
        for form in [form for form in self._forms if form in line]:
            line = line.replace(form, MASK)
        if "eyJ" in line:
            line = _LONG_WORD.sub(_masked_long_word, line)
        if any(start in line for start in _KEY_STARTS) or "bearer" in line.lower():
            return _LOOKS_SECRET.sub(MASK, line)
        return line


def _masked_long_word(found: re.Match[str]) -> str:
    return MASK if "eyJ" in found[0] else found[0]


def written_forms(secret: str) -> set[str]:
    """Return a secret as it is, as JSON, URLs, Python and logs write it, and each written twice."""
    raw = secret.encode("utf-8", "surrogatepass")
    urls = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    once = {secret, repr(raw)[2:-1], repr(b"'\"" + raw)[5:-1], *urls, *_written(secret)}
    return once.union(*map(_written, once))


def printable(text: str) -> str:
    """Escape what is not printable, so that a text cannot forge lines or move a cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_json(line: str) -> str:
    """Escape what is not printable in one line of JSON, as JSON does it; letters stay.

    Escaped are control characters, line ends like U+0085 and U+2028, and halves of surrogate
    pairs. So are characters that change the direction of a text.
    """
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _written(text: str) -> set[str]:
    return {
        printable(text),
        repr(text)[1:-1],
        ascii(text)[1:-1],
        repr("'\"" + text)[4:-1],  # beside quotes of both kinds
        ascii("'\"" + text)[4:-1],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    }


def base64_forms(secret: str) -> set[str]:
    """Return the base64 of a secret with any text before and after it, as in Basic authentication.

    The secret may begin at any of the three bytes of a group, so there are three forms. The
    characters that also depend on other text are left out.
    """
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) < _MIN_BASE64_BYTES:
        return set()
    return {_base64_after(before, raw) for before in range(3)}


def _base64_after(before: int, raw: bytes) -> str:
    """Return the characters of base64 that depend on `raw` alone, with `before` bytes first."""
    encoded = base64.b64encode(bytes(before) + raw).decode()
    return encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
