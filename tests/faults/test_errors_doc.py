"""docs/errors.md says what the tests of this folder check."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from gateway.errors import Cause
from tests.faults.causes import ROWS
from tests.faults.dialects import DIALECTS
from tests.faults.document import document
from tests.faults.table import CELLS, ErrorOutcome

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_the_page_of_errors_is_the_table_of_the_tests() -> None:
    """`make errors-doc` writes the page again."""
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(document(), "utf-8")
    assert PAGE.read_text("utf-8") == document()


def test_every_cause_has_a_row_and_every_row_a_cell_for_each_dialect_that_has_it() -> None:
    """No client sees `client_closed_request`."""
    assert {row.code for row in ROWS} == {*get_args(Cause)} - {"client_closed_request"}
    names = [dialect.name for dialect in DIALECTS]
    for row in ROWS:
        everywhere = row.code not in ("superseded", "response_not_found", "thread_not_found")
        assert [*row.shown] == names if everywhere else {*row.shown} < {*names}, row.code


def test_every_outcome_of_the_table_is_a_row() -> None:
    outcomes = [outcome for _, _, outcome in CELLS if isinstance(outcome, ErrorOutcome)]
    assert [outcome.row.code for outcome in outcomes] == [outcome.code for outcome in outcomes]


def test_no_fault_is_twice_in_the_table() -> None:
    cells = [(fault.name, moment) for fault, moment, _ in CELLS]
    assert len(cells) == len(set(cells))
