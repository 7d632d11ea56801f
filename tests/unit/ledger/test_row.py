"""A line says which kind it is, and is read as it was written."""

from __future__ import annotations

import time
from typing import get_args

import pytest

from gateway.errors import Cause
from gateway.ledger.row import (
    ENDS,
    LostRows,
    SpoolLine,
    crashed,
    decode_line,
    encode_line,
    new_row_id,
)
from tests.unit.ledger.support import began, row


@pytest.mark.parametrize(
    "line",
    [began(team="web", stream=True), row(cause="upstream_error"), LostRows("d", "k", 2, ["x"])],
)
def test_a_line_is_read_as_it_was_written(line: SpoolLine) -> None:
    raw = encode_line(line)
    assert b"\n" not in raw
    assert decode_line(raw) == line


def test_fields_of_a_later_version_are_ignored() -> None:
    raw = encode_line(began()).replace(b"{", b'{"later":1,', 1)
    assert decode_line(raw).day == "2026-11-30"


def test_the_usual_row_takes_less_than_500_bytes() -> None:
    usual = row(request_id="req_" + 24 * "x", first_ms=12, account="first", client="OpenAI/Python")
    assert len(encode_line(usual)) < 500


def test_the_row_of_a_crashed_request_has_all_that_its_beginning_says() -> None:
    line = began(
        team="web", model="m", route="fim", stream=True, prompt_tokens=7, node="n", request_id="r"
    )
    made = crashed(line)
    assert {name: getattr(made, name) for name in line.__struct_fields__} == {
        name: getattr(line, name) for name in line.__struct_fields__
    }
    assert (made.ended, made.usage_source, made.status) == ("crashed", "estimated", None)


def test_ids_are_random_and_ends_are_a_closed_list() -> None:
    assert len({new_row_id() for _ in range(100)}) == 100
    assert set(ENDS) == {"complete", "crashed", *get_args(Cause)}


def test_an_id_begins_with_the_time_so_that_new_rows_are_beside_each_other() -> None:
    before = time.time_ns() // 1_000_000
    row_id = new_row_id()
    assert before <= int(row_id[:12], 16) <= time.time_ns() // 1_000_000
    assert len(row_id) == 32
