"""Tokens that the disk refuses are saved as soon as it takes them again."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest
import structlog

from gateway.fitten.auth import token_saver
from gateway.fitten.auth.token_saver import TokenSaver
from gateway.store.token_file import Tokens
from tests.waiting import eventually


class FullDisk:
    """A token file on a disk that may be full."""

    def __init__(self) -> None:
        self.full = True
        self.tries = 0
        self.saved: list[Tokens] = []

    def save(self, tokens: Tokens) -> None:
        self.tries += 1
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.saved.append(tokens)


def tokens(name: str) -> Tokens:
    return Tokens("u", name, "r")


async def test_the_newest_tokens_are_saved_once_there_is_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert token_saver._RETRY_INTERVAL < 5
    monkeypatch.setattr(token_saver, "_RETRY_INTERVAL", 0.01)
    disk: Any = FullDisk()
    saver = TokenSaver(disk)
    with structlog.testing.capture_logs() as logged:
        await saver.save(tokens("first"))
        await saver.save(tokens("second"))
        await eventually(lambda: disk.tries >= 5)
        disk.full = False
        await eventually(lambda: disk.saved)
        await asyncio.sleep(0.05)
    assert disk.saved == [tokens("second")]
    assert [event["event"] for event in logged] == ["token_file_not_written", "token_file_written"]
    await saver.save(tokens("third"))
    assert disk.saved[-1] == tokens("third")
    await saver.close()


async def test_a_closed_saver_tries_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_saver, "_RETRY_INTERVAL", 0.01)
    disk: Any = FullDisk()
    saver = TokenSaver(disk)
    await saver.save(tokens("first"))
    await saver.close()
    tries = disk.tries
    await asyncio.sleep(0.05)
    assert disk.tries == tries
