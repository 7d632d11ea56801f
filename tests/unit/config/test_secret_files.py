"""`${credential:NAME}` and `${file:PATH}` in a configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config.loading import load_config
from gateway.config.settings import Config, ConfigError

FILE = """\
fitten:
  accounts: [{username: ada, password: "%s"}]
middlewares: []
"""


def load(folder: Path, password: str, *, without_secrets: bool = False) -> Config:
    path = folder / "config.yaml"
    path.write_text(FILE % password)
    environ = {"CREDENTIALS_DIRECTORY": str(folder / "credentials")}
    return load_config(path, environ, without_secrets=without_secrets)


def password(folder: Path, written: str) -> str:
    return load(folder, written).fitten.accounts[0].password.value


def mistake(folder: Path, written: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, written)
    (one,) = caught.value.mistakes
    assert ":2: fitten.accounts[0].password: " in one
    return one.partition("password: ")[2]


def in_file(path: Path) -> str:
    return "${file:" + str(path) + "}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "credentials").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("correct horse\n", "correct horse"),
        ("correct horse\r\n", "correct horse"),
        ("no newline", "no newline"),
        (" two\n\n", " two\n"),
        ("秘密", "秘密"),
        ("${NOT_A_VARIABLE}", "${NOT_A_VARIABLE}"),
        ("x" * 65536, "x" * 65536),
    ],
)
def test_a_credential_is_the_text_of_its_file(folder: Path, content: str, value: str) -> None:
    (folder / "credentials/fitten-password").write_bytes(content.encode())
    assert password(folder, "${credential:fitten-password}") == value
    assert password(folder, "<${credential:fitten-password}>") == f"<{value}>"


@pytest.mark.parametrize("name", ["", ".", "..", "../config.yaml", "a/b", "/etc/passwd", "a b"])
def test_a_name_cannot_leave_the_directory(folder: Path, name: str) -> None:
    assert "needs the name of a credential" in mistake(folder, "${credential:" + name + "}")


def test_a_credential_that_is_not_there_is_named(folder: Path) -> None:
    assert mistake(folder, "${credential:none}") == (
        "the credential none cannot be read: No such file or directory"
    )


def test_without_systemd_it_is_said_where_credentials_come_from(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(FILE % "${credential:x}")
    with pytest.raises(ConfigError, match="LoadCredential=x"):
        load_config(path, {})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a\0b", "has a NUL character"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"x" * 65537, "is larger than 65536 bytes"),
    ],
)
def test_what_is_no_secret_is_refused(folder: Path, content: bytes, reason: str) -> None:
    (folder / "credentials/x").write_bytes(content)
    assert reason in mistake(folder, "${credential:x}")


def test_a_pipe_does_not_hang_the_start(folder: Path) -> None:
    os.mkfifo(folder / "credentials/x")
    assert "is not a regular file" in mistake(folder, "${credential:x}")
    assert "Is a directory" in mistake(folder, in_file(folder / "credentials"))


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    file = folder / "secret"
    file.write_text("correct horse")
    file.chmod(mode)
    assert mistake(folder, in_file(file)).endswith("can be read by other users: chmod 600")
    file.chmod(0o600)
    assert password(folder, in_file(file)) == "correct horse"


def test_systemd_may_use_other_permissions_in_its_own_directory(folder: Path) -> None:
    file = folder / "credentials/secret"
    file.write_text("correct horse")
    file.chmod(0o440)
    assert password(folder, in_file(file)) == "correct horse"
    assert password(folder, "${credential:secret}") == "correct horse"


def test_a_relative_path_is_refused(folder: Path) -> None:
    assert "must begin with /" in mistake(folder, "${file:secret}")


def test_every_fault_of_a_value_is_reported(folder: Path) -> None:
    said = mistake(folder, "${NOT_SET} ${credential:none} ${file:/nowhere/x}")
    assert said.count("; ") == 3
    assert "NOT_SET" in said
    assert "/nowhere/x" in said


def test_secrets_can_be_taken_on_trust(folder: Path) -> None:
    loaded = load(folder, "${credential:none}", without_secrets=True)
    assert loaded.fitten.accounts[0].password.value
