"""CSV that spreadsheets take for texts and numbers, whatever users call their keys."""

from __future__ import annotations

import csv
import io

import pytest

from gateway.ledger.csv_text import csv_text

FORMULAS = [
    '=cmd|"/c calc"!A0',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_is_a_formula(name: str) -> None:
    text = csv_text(("key", "requests"), [{"key": name, "requests": -1}]).decode()
    (_, (cell, number)) = csv.reader(io.StringIO(text, newline=""))
    assert cell == f"'{name}"
    assert number == "-1", "a number stays one"


def test_other_texts_come_back_as_they_were() -> None:
    names = ['quo"te', "com,ma", "two\r\nlines", "林晓", "a=b", " =x", "", "\u202eevil"]
    text = csv_text(("key",), [{"key": name} for name in names]).decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [["key"], *([name] for name in names)]
    assert text.startswith("key\r\n")
    assert text.endswith("\r\n")


def test_excel_is_told_by_a_mark_that_it_is_utf_8() -> None:
    assert csv_text(("key",), [], bom=True) == b"\xef\xbb\xbfkey\r\n"
    assert csv_text(("key",), [{"key": None}]) == b'key\r\n""\r\n'


def test_half_of_a_character_does_not_fail() -> None:
    assert csv_text(("key",), [{"key": "\ud83d"}]) == b"key\r\n?\r\n"
