"""Snippets in the formats of clients."""

from __future__ import annotations

import json
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from gateway.setup.snippet import (
    json_snippet,
    key_from_file,
    shell_snippet,
    toml_assignments,
    toml_snippet,
    yaml_snippet,
)
from gateway.setup.target import SetupTarget, is_loopback

ODD = 'a "quoted" \\ back\'slash\t$HOME 深'
TABLE: dict[str, Any] = {
    "name": ODD,
    "count": 3,
    "on": False,
    "outer": {"inner": {"name": ODD}, "odd name": {"on": True}},
}


def test_toml_has_the_values_before_the_tables_and_can_be_read_back() -> None:
    snippet = toml_snippet("here", TABLE | {"last": 1})
    assert tomllib.loads(snippet.text) == TABLE | {"last": 1}
    assert not snippet.text.startswith("\n")


def test_assignments_are_the_same_values_one_by_one() -> None:
    assert tomllib.loads("\n".join(toml_assignments(TABLE))) == TABLE


def test_json_without_a_placeholder_has_no_comment() -> None:
    snippet = json_snippet("here", TABLE)
    assert snippet.language == "json"
    assert json.loads(snippet.text) == TABLE


def test_json_says_once_what_its_placeholder_is() -> None:
    snippet = json_snippet("here", {"one": "YOUR_KEY", "url": "http://here/k/YOUR_KEY"})
    assert snippet.language == "jsonc"
    comment, *others = snippet.text.splitlines()[1:]
    assert comment == "  // YOUR_KEY is the value of $FITTEN_GATEWAY_KEY."
    assert others == ['  "one": "YOUR_KEY",', '  "url": "http://here/k/YOUR_KEY"', "}"]


def test_yaml_says_what_its_placeholder_is() -> None:
    snippet = yaml_snippet("here", {"key": "YOUR_KEY", "name": ODD})
    assert snippet.text.startswith("key: YOUR_KEY  # the value of $FITTEN_GATEWAY_KEY\n")
    assert yaml.safe_load(snippet.text) == {"key": "YOUR_KEY", "name": ODD}


def printed(text: str, **variables: str) -> str:
    done = subprocess.run(
        ["sh", "-c", text], env=variables, capture_output=True, check=True, timeout=30
    )
    return done.stdout.decode()


def test_the_shell_gets_each_value_as_it_is_and_the_key_from_its_variable() -> None:
    key = SetupTarget().shell_key
    snippet = shell_snippet(
        "here", {"MODEL": ODD, "KEY": key}, 'printf "%s|" "$MODEL" "$KEY"', key=key
    )
    assert printed(snippet.text, FITTEN_GATEWAY_KEY="a b$c") == f"{ODD}|a b$c|"


def test_the_shell_reads_the_key_of_a_file(tmp_path: Any) -> None:
    file = tmp_path / "a 'key' file"
    file.write_text("the-key\n")
    snippet = key_from_file(SetupTarget(key="the-key", key_file=str(file)))
    assert "the-key" not in snippet.text.replace(str(file), "")
    assert (
        printed(snippet.text + 'printf %s "$FITTEN_GATEWAY_KEY"', PATH="/usr/bin:/bin") == "the-key"
    )


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:5000", True),
        ("http://127.0.0.1", True),
        ("http://127.8.0.1:80", True),
        ("https://[::1]:8443", True),
        ("http://localhost.example.org", False),
        ("http://192.168.1.2:5000", False),
        ("https://gateway.example.org", False),
    ],
)
def test_an_address_of_this_machine_is_known(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback
