"""What the commands "setup" and "run" are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.setup.arguments import (
    ArgumentError,
    SetupArguments,
    addressed_target,
    configured_url,
    key_of,
)


def given(tmp_path: Path, **options: object) -> SetupArguments:
    return SetupArguments(config=tmp_path / "config.yaml", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("server: {host: 127.0.0.1, port: 5001}", "http://localhost:5001"),
        ("server: {host: 0.0.0.0, port: 80}", "http://localhost:80"),
        ('server: {host: "::", port: 6000}', "http://localhost:6000"),
        ("server: {host: 192.168.1.2}", "http://192.168.1.2:5000"),
        ('server: {host: "fd00::1", port: 7000}', "http://[fd00::1]:7000"),
        ("server: {port: 0}", "http://localhost:5000"),
        ("server: {port: ${PORT}}", "http://localhost:5000"),
        ("server: 5", "http://localhost:5000"),
        (
            "fitten: {accounts: [{username: '${MISSING}'}]}\nserver: {port: 81}",
            "http://localhost:81",
        ),
        ("[1, 2", "http://localhost:5000"),
        ("", "http://localhost:5000"),
    ],
)
def test_the_address_is_that_of_the_configuration_whatever_else_is_wrong_in_it(
    tmp_path: Path, text: str, url: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert configured_url(tmp_path / "config.yaml") == url


def test_without_a_configuration_the_address_is_the_default(tmp_path: Path) -> None:
    assert configured_url(tmp_path / "config.yaml") == "http://localhost:5000"
    (tmp_path / "config.ini").write_text("[Main]\n")
    assert configured_url(tmp_path / "config.ini") == "http://localhost:5000"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://gateway.example.org", "https://gateway.example.org"),
        ("https://gateway.example.org/v1/", "https://gateway.example.org"),
        ("http://10.0.0.1:5000//", "http://10.0.0.1:5000"),
        ("https://example.org/gateway/v1", "https://example.org/gateway"),
    ],
)
def test_an_address_may_end_with_v1_or_a_slash(tmp_path: Path, text: str, url: str) -> None:
    assert addressed_target(given(tmp_path, url=text)).url == url


@pytest.mark.parametrize(
    "text",
    [
        "gateway.example.org",
        "ftp://a",
        "http://",
        "http://a:b",
        "http://a b",
        "http://a'",
        "http://a/?b",
    ],
)
def test_what_is_no_address_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ArgumentError, match="--url: expected an address"):
        addressed_target(given(tmp_path, url=text))


@pytest.mark.parametrize(
    ("model", "what"), [("claude-sonnet-5", "claude-"), ("a\nb", "cannot be printed")]
)
def test_models_that_no_client_should_be_told_are_refused(
    tmp_path: Path, model: str, what: str
) -> None:
    with pytest.raises(ArgumentError, match=what):
        addressed_target(given(tmp_path, model=model))


def test_the_key_is_that_of_the_file_before_that_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("of-the-file\n")
    environ = {"FITTEN_GATEWAY_KEY": "of-the-environment"}
    assert key_of(given(tmp_path, key_file=file), environ) == "of-the-file"
    assert key_of(given(tmp_path), environ) == "of-the-environment"
    assert key_of(given(tmp_path), {"FITTEN_GATEWAY_KEY": ""}) is None


def test_snippets_never_get_the_key_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITTEN_GATEWAY_KEY", "secret")
    assert addressed_target(given(tmp_path)).key is None


@pytest.mark.parametrize("text", ["", "\n", "two words", "two\nlines"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ArgumentError, match="must have one line"):
        key_of(given(tmp_path, key_file=file), {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"nothing cannot be read: No such file"):
        key_of(given(tmp_path, key_file=tmp_path / "nothing"), {})
