"""What a reload changed, by path and without values."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.difference import changed_options, options_for_restart
from gateway.config.loading import load_config
from gateway.config.settings import Config

FITTEN = "fitten: {accounts: [{username: ada, password: %s}]}\n"
CHAIN = "middlewares: [request_id, {api_key: {keys: [{name: a, key: %s}]}}]\n"
BASE = FITTEN % "correct" + CHAIN % "team-key-0123456789"


def load(folder: Path, text: str) -> Config:
    (folder / "config.yaml").write_text(text)
    return load_config(folder / "config.yaml", {})


@pytest.mark.parametrize(
    ("text", "changed", "restart"),
    [
        (BASE, [], []),
        (BASE + "server: {port: 1, body_timeout: 5}\n", ["server.port", "server.body_timeout"],
         ["server.port"]),
        (BASE + "server: {host: '::1'}\n", ["server.host"], ["server.host"]),
        (BASE + "server: {workers: 2}\n", ["server.workers"], ["server.workers"]),
        (FITTEN % "other" + CHAIN % "team-key-0123456789", ["fitten.accounts[0].password"], []),
        (FITTEN % "correct" + CHAIN % "team-key-9876543210",
         ["middlewares[1].api_key.keys[0].key"], []),
        (BASE.replace("request_id,", "request_log,"), ["middlewares[0]"], []),
        (BASE.replace("request_id,", ""), ["middlewares"], []),
        (BASE.replace("correct}", "correct}, {username: b, password: c}"), ["fitten.accounts"], []),
        (BASE + "log: {level: debug}\n", ["log.level"], []),
        (BASE + "store: {url: none}\n", ["store.url"], ["store.url"]),
        (BASE + "ledger: {keep_days: 9}\n", ["ledger.keep_days"], []),
        (BASE + "audit: {keep_days: 9}\n", ["audit.keep_days"], []),
    ],
)  # fmt: skip
def test_the_changed_options_are_named(
    tmp_path: Path, text: str, changed: list[str], restart: list[str]
) -> None:
    former, current = load(tmp_path, BASE), load(tmp_path, text)
    assert changed_options(former, current) == changed
    assert options_for_restart(former, current) == restart


def test_more_or_fewer_workers_take_no_restart(tmp_path: Path) -> None:
    former = load(tmp_path, BASE + "server: {workers: 2}\n")
    current = load(tmp_path, BASE + "server: {workers: 3}\n")
    assert changed_options(former, current) == ["server.workers"]
    assert options_for_restart(former, current) == []
