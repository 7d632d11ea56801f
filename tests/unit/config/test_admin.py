from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.admin import split_address
from gateway.config.loading import load_config
from gateway.config.settings import Config, ConfigError

KEY = "an-admin-key-0123456789"


def load(folder: Path, admin: Any, **sections: Any) -> Config:
    data = {
        "fitten": {"accounts": [{"username": "ada", "password": "correct horse"}]},
        "middlewares": [],
        "admin": admin,
        **sections,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(data), "utf-8")
    return load_config(folder / "config.yaml", {})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5001", ("127.0.0.1", 5001)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:5001", ("::1", 5001)),
        ("::1:5001", None),
        ("127.0.0.1", None),
        ("5001", None),
        (":5001", None),
        ("http://127.0.0.1:5001", None),
        ("127.0.0.1:65536", None),
        ("127.0.0.1:x", None),
        ("127.0.0.1:5001 ", None),
        ("a@b:1", None),
    ],
)
def test_an_address_has_a_host_and_a_port(text: str, address: tuple[str, int] | None) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize(
    ("admin", "place", "text"),
    [
        ({"listen": "127.0.0.1"}, "admin.listen", "an address and a port"),
        ({"listen": "0.0.0.0:5001"}, "admin.listen", "admin.base_url"),
        (
            {"listen": "0.0.0.0:5001", "base_url": "http://a.example"},
            "admin.listen",
            "admin.base_url",
        ),
        ({"keys": [{"name": "a", "key": "short"}]}, "admin.keys[0].key", "too short"),
        ({"keys": [{"name": "a", "key": "a" * 40}]}, "admin.keys[0].key", "too simple"),
        ({"keys": [{"name": "a", "key": "sha256:12"}]}, "admin.keys[0].key", "64 hexadecimal"),
        (
            {"keys": [{"name": "a", "key": KEY, "role": "owner"}]},
            "admin.keys[0].role",
            "allowed: admin, viewer, metrics",
        ),
        (
            {"keys": [{"name": "a", "key": KEY}, {"name": "a", "key": f"{KEY}-2"}]},
            "admin.keys",
            "has the same name",
        ),
        (
            {"keys": [{"name": "a", "key": KEY}, {"name": "b", "key": KEY}]},
            "admin.keys[1].key",
            "used for something else too",
        ),
        ({"port": 5001}, "admin.port", "unknown option"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    admin: Any, place: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, admin)
    (line,) = caught.value.mistakes
    assert f"{place}: " in line
    assert text in line
    assert KEY not in line


@pytest.mark.parametrize(
    "admin",
    [
        {"listen": "127.0.0.2:5001"},
        {"listen": "[::1]:5001"},
        {"listen": "0.0.0.0:5001", "base_url": "https://admin.example.org"},
        {"listen": "0.0.0.0:5001", "insecure": True},
        {"listen": None},
        {},
        None,
    ],
)
def test_it_listens_on_loopback_or_behind_tls_or_where_somebody_insists(
    admin: Any, tmp_path: Path
) -> None:
    assert load(tmp_path, admin).admin.listen == (admin or {}).get("listen")


def test_a_key_of_an_api_is_no_admin_key(tmp_path: Path) -> None:
    chain = [{"api_key": {"keys": [{"name": "alice", "key": KEY}]}}]
    digest = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
    for key in (KEY, digest):
        with pytest.raises(ConfigError, match="opens nothing else"):
            load(tmp_path, {"keys": [{"name": "root", "key": key}]}, middlewares=chain)


def test_the_keys_are_secrets(tmp_path: Path) -> None:
    config = load(tmp_path, {"keys": [{"name": "root", "key": KEY}]})
    assert KEY in config.secrets()
    assert KEY not in str(config.as_data())
    assert KEY not in repr(config)


def test_the_socket_is_in_the_runtime_directory_or_beside_the_state_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/x")
    assert load(tmp_path, {}).admin_socket == Path("/var/lib/x/admin.sock")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/x:/run/y")
    assert load(tmp_path, {}).admin_socket == Path("/run/x/admin.sock")
    assert load(tmp_path, {"socket": "/run/z.sock"}).admin_socket == Path("/run/z.sock")
