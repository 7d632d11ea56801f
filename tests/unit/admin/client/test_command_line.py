"""The options of the commands that run a gateway."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from gateway.admin.client.command_line import GRANTED, add_commands
from gateway.keys.changes import GrantedLimit
from gateway.limits.names import LIMIT_NAMES


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser()
    add_commands(found.add_subparsers(dest="command"))
    return found


def test_only_what_is_named_is_in_a_change(parser: argparse.ArgumentParser) -> None:
    given = vars(parser.parse_args(["keys", "set", "alice"]))
    options = {"team", "models", "routes", "expires", "note", "new_name", *LIMIT_NAMES}
    assert not options & set(given)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--tokens-per-day 2m", "tokens_per_day", 2_000_000),
        ("--tokens-per-5h 10k", "tokens_per_5h", 10_000),
        ("--concurrency none", "concurrency", None),
        ("--concurrency 0", "concurrency", 0),
        ("--models a,b", "models", ["a", "b"]),
        ("--models all", "models", None),
        ("--routes none", "routes", []),
        ("--team none", "team", None),
        ("--team web", "team", "web"),
        ("--expires 90d", "expires", 90 * 86_400),
        ("--expires never", "expires", None),
    ],
)
def test_values_of_options(
    parser: argparse.ArgumentParser, words: str, name: str, value: Any
) -> None:
    for action in ("add", "set"):
        assert vars(parser.parse_args(["keys", action, "alice", *words.split()]))[name] == value


@pytest.mark.parametrize(
    "words",
    [
        *("keys", "keys add", "keys add alice --expires 0", "keys add alice --expires soon"),
        *("keys rotate alice --grace 31d", "keys add alice --concurrency many", "teams remove a"),
        *("teams delete a --keys drop", "teams forget a --keys move:"),
        *("admin-keys add eve", "admin-keys add eve --role owner", "grant alice concurrency 5"),
        *("grant alice tokens_per_day -5", "live end", "accounts pause", "keys add alice --key x"),
    ],
)
def test_a_wrong_command_line_exits_2(parser: argparse.ArgumentParser, words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words.split())
    assert caught.value.code == 2


def all_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from all_options(inner)


def test_no_option_takes_a_secret(parser: argparse.ArgumentParser) -> None:
    """Every user of the machine sees the arguments of a process."""
    options = set(all_options(parser))
    assert "--key-file" in options
    assert not {"--key", "--admin-key", "--password", "--secret", "--token"} & options


def test_every_limit_has_an_option_and_those_that_a_grant_raises_are_known(
    parser: argparse.ArgumentParser,
) -> None:
    options = set(all_options(parser))
    assert {f"--{name.replace('_', '-')}" for name in LIMIT_NAMES} <= options
    assert get_args(GrantedLimit) == GRANTED
