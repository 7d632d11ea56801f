"""The first settings: files, keys, and nothing that is overwritten."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from gateway import cli
from gateway.config.loading import load_config
from gateway.keys.key_text import parse_key_text
from gateway.keys.manager import KeyManager
from tests.unit.store.test_owners import OWNER, as_root, foreign, owner

__all__ = ["foreign"]

FILES = ("config.local.yaml", "secrets/fitten-password", "secrets/fitten-username")


@pytest.fixture(autouse=True)
def folder_and_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct $horse}\n"))


def init(*words: str) -> int:
    return cli.main(["init", "--username", "ada", *words])


def test_the_gateway_that_was_set_up_has_the_account_and_two_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init() == 0
    printed = capsys.readouterr()
    key, admin_key = (line.split()[-1] for line in printed.out.splitlines())
    assert all(text not in printed.err for text in (key, admin_key, "horse"))
    config = load_config(tmp_path / "config.local.yaml", {})
    (account,) = config.fitten.accounts
    assert (account.username, account.password.value) == ("ada", "correct $horse}")
    assert config.admin.listen == "127.0.0.1:5001"
    assert config.state_file.is_absolute()
    assert config.store_file == tmp_path / "state" / "team.db"
    table = KeyManager(config.store_file).table()
    known = {f"{one.kind} {one.name} {one.role}": one.secrets[0].sha256 for one in table.keys}
    for text, found in ((key, "api first None"), (admin_key, "admin root admin")):
        parsed = parse_key_text(text)
        assert parsed is not None
        assert known[found] == parsed.sha256
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in FILES}
    assert modes == {0o600}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    *_, start, test = printed.err.splitlines()
    assert start.startswith("Start the gateway: ")
    assert start.endswith(" serve")
    assert "curl http://127.0.0.1:5000/v1/models" in test


def test_json_has_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "etc" / "mine.yaml"
    options = ("--config", str(where), "--port", "6000", "--admin-port", "6001", "--key", "ci")
    assert init(*options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"] == str(where)
    assert (found["key"]["name"], found["admin_key"]["role"]) == ("ci", "admin")
    assert found["key"]["key"].startswith("fg-")
    assert found["start"].endswith(f"serve --config {where}")
    config = load_config(where, {})
    assert (config.server.port, config.admin.listen) == (6000, "127.0.0.1:6001")


@pytest.mark.parametrize("name", [*FILES, "state/team.db"])
def test_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.symlink("nowhere", tmp_path / name)
    assert init() == 1
    assert "nothing is overwritten" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [tmp_path / name]


@pytest.mark.parametrize(
    ("password", "options", "status"),
    [("x\x00y", (), 2), ("<your password>", (), 2), ("good enough", ("--key", "a\u202eb"), 1)],
)
def test_after_a_mistake_no_settings_are_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    password: str,
    options: tuple[str, ...],
    status: int,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
    assert init(*options) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("init: ")
    assert password not in printed.err
    assert [name for name in FILES if (tmp_path / name).exists()] == []


def test_a_folder_whose_name_cannot_stand_in_a_configuration_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a}b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert init() == 1
    assert "cannot stand in a configuration" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@as_root
def test_what_root_sets_up_belongs_to_the_owner_of_the_folder(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(foreign)
    assert init() == 0
    made = list(foreign.rglob("*"))
    assert {path.name for path in made} >= {"config.local.yaml", "team.db", "fitten-password"}
    assert {owner(path) for path in made} == {OWNER}
