"""Asks for an account at Fitten, without showing the password."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass, field

_MOST = 1000  # characters of a line


class NoAnswer(Exception):
    """Reports that nobody, or nothing usable, answered; the text says what to do."""


@dataclass(frozen=True, slots=True)
class FirstAccount:
    """Holds a name and a password."""

    username: str
    password: str = field(repr=False)


def ask_account(username: str | None) -> FirstAccount:
    """Ask for what is missing at the terminal; else read the password from the standard input.

    username: of the command line. Raises NoAnswer.
    """
    try:
        if sys.stdin.isatty():
            name = username or _line_of_terminal("Fitten user name: ")
            password = getpass.getpass("Fitten password (not shown): ")
        elif username is None:
            raise NoAnswer(
                "There is no terminal to ask at. Give --username NAME, and the password as the "
                "first line of the standard input."
            )
        else:
            name, password = username, sys.stdin.readline(_MOST).rstrip("\r\n")
    except (EOFError, UnicodeDecodeError):
        raise NoAnswer("There was no answer in UTF-8, so nothing was written.") from None
    for what, text in (("user name", name), ("password", password)):
        if not text.strip() or not text.isprintable():
            raise NoAnswer(f"The {what} is empty or has a character that cannot be typed.")
    return FirstAccount(name.strip(), password)


def _line_of_terminal(question: str) -> str:
    """Ask on the error output: the standard output is for the keys."""
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline(_MOST)
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
