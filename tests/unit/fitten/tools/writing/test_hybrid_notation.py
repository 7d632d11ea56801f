"""Any call comes back as it was written: 2,000 of the round trips of `make round-trips`."""

from __future__ import annotations

import pytest

from tests.unit.fitten.tools.round_trips import round_trip, run, same


@pytest.mark.parametrize("thousand", [0, 1])
def test_random_calls_come_back_byte_for_byte(thousand: int) -> None:
    for number in range(1_000 * thousand, 1_000 * (thousand + 1)):
        round_trip(number)


def test_a_failure_is_found_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.unit.fitten.tools.round_trips.same", lambda one, _: "path" in one)
    failed = run(0, 50)
    assert failed is not None
    assert f"round trip {failed}: " in capsys.readouterr().err


def test_values_that_only_look_equal_are_told_apart() -> None:
    assert same({"a": 1, "b": [True]}, {"b": [True], "a": 1})
    assert not same({"a": 1}, {"a": True})
    assert not same({"a": 1}, {"a": 1.0})
