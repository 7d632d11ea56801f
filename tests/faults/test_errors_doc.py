"""docs/errors.md says what the tests of this folder check."""

from __future__ import annotations

import os
from pathlib import Path

from tests.faults.document import CODES, document
from tests.faults.table import CELLS, ErrorOutcome

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_the_page_of_errors_is_the_table_of_the_tests() -> None:
    """`make errors-doc` writes the page again."""
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(document(), "utf-8")
    assert PAGE.read_text("utf-8") == document()


def test_every_code_of_the_table_is_explained() -> None:
    """The chats of the table offer no tools; tests/integration/apis/test_hybrid_tools.py does."""
    played = {outcome.code for _, _, outcome in CELLS if isinstance(outcome, ErrorOutcome)}
    assert played | {"upstream_empty"} == set(CODES)


def test_no_fault_is_twice_in_the_table() -> None:
    cells = [(fault.name, moment) for fault, moment, _ in CELLS]
    assert len(cells) == len(set(cells))
