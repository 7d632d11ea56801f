"""Writes rows as CSV (RFC 4180) that spreadsheets read as texts and numbers, never as formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

# A cell that begins so is a formula for spreadsheets; the last four are for those in Chinese and
# Japanese. Names of keys and models are texts of users.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_text(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, bom: bool = False
) -> bytes:
    """Return rows under a line with the names of the columns; lines end with CR and LF.

    A text that would be a formula gets an apostrophe in front. None is an empty cell.
    bom: whether it begins with a mark by which Excel sees that it is UTF-8.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    text = file.getvalue()
    return (f"\ufeff{text}" if bom else text).encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
