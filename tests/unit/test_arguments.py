"""What is written on a command line: ports, numbers, ages, the configuration file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import arguments


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0", 0), ("600", 600), ("10k", 10_000), ("10K", 10_000), ("2m", 2_000_000)),
        *(("1.5m", 1_500_000), ("0.25k", 250), ("1000000000000000", 10**15)),
    ],
)
def test_an_amount_may_end_in_k_or_m(text: str, number: int) -> None:
    assert arguments.amount(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "k", "-1", "1.5", "0.0001k", ".5m", "5.m", "1e3", "ten", "10g", "1 000", "²"),
        *("9" * 17, "1000000001m", "1_000"),
    ],
)
def test_other_amounts_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no number like 600, 500k or"):
        arguments.amount(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("90d", 90 * 86_400), ("0h", 0)],
)
def test_an_age_has_a_unit(text: str, number: int) -> None:
    assert arguments.seconds(text) == number


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "1w", "36601d", "٣d"])
def test_other_ages_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time like 30m, 24h or 90d"):
        arguments.seconds(text)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [(arguments.port, "5000", 5000), (arguments.row_count, "1000000", 1_000_000)],
)
def test_ports_and_counts_are_numbers(read: Callable[[str], Any], text: str, value: int) -> None:
    assert read(text) == value
    for wrong in ("-1", "x", "1000001"):
        with pytest.raises(argparse.ArgumentTypeError):
            read(wrong)


def test_the_local_configuration_is_the_default_if_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    arguments.add_config_option(parser)
    assert parser.parse_args([]).config == Path("config.yaml")
    (tmp_path / "config.local.yaml").touch()
    parser = argparse.ArgumentParser()
    arguments.add_config_option(parser)
    assert parser.parse_args([]).config == Path("config.local.yaml")
