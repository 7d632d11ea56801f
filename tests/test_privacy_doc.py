"""docs/privacy.md has every field of a row and of the log, and every header."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

from gateway.ledger.row import Began, LedgerRow, LostRows
from gateway.limits.names import LIMIT_NAMES
from gateway.store.migrations import migrate
from tests import test_logs_doc

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/privacy.md").read_text("utf-8")
HEADER = re.compile(r"(x|openai|anthropic)-[a-z]+(-[a-z]+)*|authorization|user-agent|retry-after")

TABLES_OF_KEYS = ("key_secret", "budget_grant", "audit", "session", "operation", "state")

# Values of headers of Fitten's answers and of its own requests: nothing that is kept.
OF_FITTEN = {"x-gzip", "x-api-version"}
# Names of settings of clients that look like headers.
OF_CLIENTS = {"openai-sdk", "openai-compatible", "anthropic-sdk"}


def names(title: str, pattern: str = r"\w+") -> set[str]:
    """The names in the first column of the tables of a section."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    cells = [line.split("|")[1] for line in found[1].splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(rf"`({pattern})`", cell)}


def test_every_field_of_a_row_is_listed_and_no_other() -> None:
    fields = {name for kind in (Began, LedgerRow, LostRows) for name in kind.__struct_fields__}
    assert names("Fields of the ledger") == fields


def test_every_field_of_keys_is_listed_and_no_other() -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, ROOT / "memory", now=0)
        found: set[str] = set()
        for table in ("key", "team", *TABLES_OF_KEYS):
            columns = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
            found |= {column for (column,) in columns.fetchall()}
    section = PAGE.partition("## Fields of keys\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")]
    listed = {name for _, cell in rows for name in re.findall(r"`(\w+)`", cell)}
    assert listed == found - set(LIMIT_NAMES)
    assert {name for cell, _ in rows for name in re.findall(r"`(\w+)`", cell)} == {
        *("key", "team", *TABLES_OF_KEYS)
    }


def test_every_field_of_the_log_is_listed_and_no_other() -> None:
    fields: set[str] = set()
    for title in ("Every line", "The line of a request"):
        fields |= {name for cell, *_ in test_logs_doc.rows(title) for name in field_names(cell)}
    for _, cell, *_ in test_logs_doc.rows("Events"):
        fields |= field_names(cell)
    assert names("Fields of the log") == fields


def field_names(cell: str) -> set[str]:
    return test_logs_doc.names(cell)


def test_every_header_that_the_code_names_is_listed() -> None:
    files = [*ROOT.glob("gateway/**/*.py"), *ROOT.glob("middlewares/*.py")]
    text = "\n".join(path.read_text("utf-8") for path in files).lower()
    texts = set(re.findall(r'"([a-z-]+)"', text))
    found = {text for text in texts if HEADER.fullmatch(text)} - OF_FITTEN - OF_CLIENTS
    assert found - names("Headers", r"[\w-]+") == set()
    assert {"x-request-id", "authorization", "retry-after"} <= found
