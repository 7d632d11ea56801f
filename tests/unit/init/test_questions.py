"""The account is asked for, and the password is not shown."""

from __future__ import annotations

import getpass
import io
import sys

import pytest

from gateway.init.questions import FirstAccount, NoAnswer, ask_account


class Terminal(io.StringIO):
    """A standard input at which a person sits."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_the_password_is_the_first_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\r\nmore\n"))
    assert ask_account("ada") == FirstAccount("ada", "correct horse")
    assert capsys.readouterr() == ("", "")


def test_at_a_terminal_what_is_missing_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("ada\n"))
    monkeypatch.setattr(getpass, "getpass", lambda question: "correct horse")
    assert ask_account(None) == FirstAccount("ada", "correct horse")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "Fitten user name: ")


@pytest.mark.parametrize(
    ("username", "text", "says"),
    [
        (None, "x\n", "Give --username NAME"),
        ("ada", "", "The password is empty"),
        ("ada", "   \n", "The password is empty"),
        ("ada", "a\tb\n", "has a character that cannot be typed"),
        ("\u202eada", "x\n", "The user name is empty or has a character"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, username: str | None, text: str, says: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    with pytest.raises(NoAnswer, match=says):
        ask_account(username)


def test_a_terminal_that_is_closed_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    with pytest.raises(NoAnswer, match="so nothing was written"):
        ask_account(None)


def test_a_password_is_in_no_text_of_the_account() -> None:
    assert "horse" not in repr(FirstAccount("ada", "correct horse"))
