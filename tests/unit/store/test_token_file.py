"""Tokens survive a restart, for their own account, readable by the owner only."""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog

from gateway.store.token_file import TokenFile, Tokens

TOKENS = Tokens("u_demo", "access-1", "refresh-1", 1_800_000_000.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "fitten.json"


def test_what_was_saved_is_loaded(path: Path) -> None:
    TokenFile(path, "https://a ada").save(TOKENS)
    assert TokenFile(path, "https://a ada").load() == TOKENS


def test_an_unknown_expiry_stays_unknown(path: Path) -> None:
    file = TokenFile(path, "a")
    file.save(Tokens("u", "a", "r"))
    assert file.load() == Tokens("u", "a", "r", None)


def test_only_the_owner_may_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        TokenFile(path, "a").save(TOKENS)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o644)
    TokenFile(path, "a").save(TOKENS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_else_is_left_behind(path: Path) -> None:
    for _ in range(3):
        TokenFile(path, "a").save(TOKENS)
    assert [file.name for file in path.parent.iterdir()] == ["fitten.json"]


def test_a_save_that_was_interrupted_is_no_hindrance(path: Path) -> None:
    file = TokenFile(path, "a")
    file.save(TOKENS)
    path.with_name("fitten.json.new").write_text('{"acc')
    assert file.load() == TOKENS
    file.save(TOKENS)
    assert [found.name for found in path.parent.iterdir()] == ["fitten.json"]


def test_a_save_that_fails_leaves_the_old_file_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = TokenFile(path, "a")
    file.save(TOKENS)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        file.save(Tokens("u", "other", "other"))
    assert file.load() == TOKENS


def test_a_missing_file_is_no_tokens_and_no_warning(path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        assert TokenFile(path, "a").load() is None
    assert logged == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"account":"a","user_id":1,"access_token":"a","refresh_token":"r","expires_at":null}',
        b'{"access_token":"\xff"}',
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_broken_file_is_set_aside_with_a_warning(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    file = TokenFile(path, "a")
    with structlog.testing.capture_logs() as logged:
        assert file.load() is None
    assert [(event["event"], event["log_level"]) for event in logged] == [
        ("token_file_broken", "warning")
    ]
    assert path.with_name("fitten.json.broken").read_bytes() == content
    assert not path.exists()
    file.save(TOKENS)
    assert file.load() == TOKENS


def test_the_tokens_of_another_account_are_not_taken(path: Path) -> None:
    TokenFile(path, "https://a ada").save(TOKENS)
    for owner in ("https://a bob", "https://b ada", ""):
        assert TokenFile(path, owner).load() is None
    assert TokenFile(path, "https://a ada").load() == TOKENS


def test_the_user_name_is_not_in_the_file(path: Path) -> None:
    TokenFile(path, "https://a ada.lovelace").save(TOKENS)
    assert b"ada" not in path.read_bytes()


def test_what_cannot_be_read_is_no_tokens_with_a_warning(path: Path) -> None:
    path.mkdir(parents=True)
    with structlog.testing.capture_logs() as logged:
        assert TokenFile(path, "a").load() is None
    assert [event["event"] for event in logged] == ["token_file_not_read"]


def test_a_broken_file_that_cannot_be_moved_is_no_crash(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.write_text("{")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    assert TokenFile(path, "a").load() is None


def test_several_accounts_have_one_file(path: Path) -> None:
    owners = ("https://a ada", "https://a bob", "https://a eve")
    files = [TokenFile(path, owner, others=owners) for owner in owners]
    for number, file in enumerate(files):
        file.save(Tokens(f"u{number}", "access", "refresh"))
    assert [file.load() for file in files] == [
        Tokens(f"u{number}", "access", "refresh") for number in range(3)
    ]


def test_accounts_that_are_known_no_longer_leave_the_file(path: Path) -> None:
    TokenFile(path, "gone").save(Tokens("u_gone", "old-access", "old-refresh"))
    TokenFile(path, "ada", others=("ada", "bob")).save(TOKENS)
    assert TokenFile(path, "gone").load() is None
    assert b"old-" not in path.read_bytes()


def test_accounts_that_save_at_once_lose_nothing(path: Path) -> None:
    owners = [f"account {number}" for number in range(12)]
    files = [TokenFile(path, owner, others=owners) for owner in owners]
    with ThreadPoolExecutor(12) as threads:
        for _ in range(3):
            list(threads.map(lambda file: file.save(TOKENS), files))
    assert [file.load() for file in files] == [TOKENS] * 12
    assert [found.name for found in path.parent.iterdir()] == ["fitten.json"]


def test_the_file_of_one_account_is_still_read(path: Path) -> None:
    path.parent.mkdir()
    name = hashlib.sha256(b"https://a ada").hexdigest()
    path.write_text(
        f'{{"account":"{name}","user_id":"u_demo","access_token":"access-1",'
        '"refresh_token":"refresh-1","expires_at":1800000000.5}'
    )
    assert TokenFile(path, "https://a ada").load() == TOKENS
    assert TokenFile(path, "https://a bob").load() is None
    TokenFile(path, "https://a bob", others=["https://a ada"]).save(TOKENS)
    assert TokenFile(path, "https://a ada").load() == TOKENS


@pytest.mark.timeout(60)
def test_a_fifo_in_its_place_stops_nobody(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    file = TokenFile(path, "a")
    with structlog.testing.capture_logs() as logged:
        assert file.load() is None
        with pytest.raises(OSError, match="not a regular file"):
            file.save(TOKENS)
    assert stat.S_ISFIFO(path.stat().st_mode), "it is left as it is"
    assert [event["event"] for event in logged] == ["token_file_not_read"]


def test_a_device_in_its_place_is_not_replaced(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to("/dev/zero")
    assert TokenFile(path, "a").load() is None
    with pytest.raises(OSError, match="not a regular file"):
        TokenFile(path, "a").save(TOKENS)


def test_a_huge_file_is_not_read_into_memory(path: Path) -> None:
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(10**11)  # without blocks on the disk
    with structlog.testing.capture_logs() as logged:
        assert TokenFile(path, "a").load() is None
    assert logged[0]["event"] == "token_file_not_read"
