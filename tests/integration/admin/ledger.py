"""Rows of a few days, keys, teams, models and routes, in the ledger of an admin API."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from gateway.ledger.batch import BatchWriter
from gateway.ledger.row import LedgerRow, LostRows
from tests.integration.admin.support import AdminUnderTest
from tests.unit.ledger.support import DAY, NOON, Books, row

FORMULA = "=cmd()"
"""The name of a key that a spreadsheet would run."""


def rows() -> Iterator[LedgerRow]:
    """Yield 24 rows; one of them was refused."""
    keys, ends = ("alice", FORMULA, "", '林,"晓"'), ("complete", "upstream_error", "superseded")
    routes = ("chat", "fim")
    for number, (key, route, end) in enumerate(itertools.product(keys, routes, ends)):
        yield row(
            day=f"2026-11-{28 + number % 3}",
            key=key,
            team="web" if number % 2 else "",
            model=f"model-{number % 4}",
            route=route,
            ended=end,
            cause=None if end == "complete" else end,
            refused=number == 7,
            prompt_tokens=100 + number,
            completion_tokens=number,
            first_ms=number if number % 4 else None,
        )


def fill(admin: AdminUnderTest, *lines: Any) -> None:
    """Write these lines to the ledger of the node; without any, those of `rows`, and three lost."""
    path = admin.config.store_file
    assert path is not None
    books = Books(path)
    given = lines or (*rows(), LostRows(DAY, "alice", 3))
    BatchWriter(books.connection).write([("p", line) for line in given], {}, now=NOON)
    books.connection.close()
