"""What commands need of a configuration, without its secrets."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.config.local_settings import ConfiguredName, read_local_settings
from gateway.config.settings import ConfigError

WHOLE = """\
server: {time_zone: Asia/Shanghai, port: 1, wrong: x}
fitten:
  state_file: /srv/gateway/fitten.json
  accounts: [{username: "${NOT_SET}", password: "${credential:fitten-password}"}]
store: {url: "sqlite:///var/team.db"}
audit: {keep_days: 1000}
teams: [{name: web, tokens_per_day: 5}]
admin: {keys: [{name: root, key: "${ADMIN_KEY}", role: viewer}]}
middlewares:
  - request_id
  - no_such_middleware
  - api_key:
      keys:
        - {name: alice, key: "${file:/nowhere/key}", tokens_per_day: 2m, concurrency: 3}
        - {name: alice, key: "${NEW_KEY}", team: web, models: [b, a]}
        - {name: "${TEAM:-bob}", key: "sha256:0"}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_file_is_read_without_its_secrets_and_without_its_middlewares(tmp_path: Path) -> None:
    settings = read_local_settings(write(tmp_path, WHOLE), {})
    assert settings.store_file == tmp_path / "var" / "team.db"
    assert settings.state_file == Path("/srv/gateway/fitten.json")
    assert settings.audit_days == 1000
    assert settings.time_zone == ZoneInfo("Asia/Shanghai")
    alice = ConfiguredName(
        "alice",
        team="web",
        limits={"concurrency": 3, "tokens_per_day": 2_000_000},
        models=("a", "b"),
    )
    assert settings.keys == (alice, ConfiguredName("bob"))
    assert settings.teams == (ConfiguredName("web", limits={"tokens_per_day": 5}),)
    assert settings.admin_keys == (ConfiguredName("root", role="viewer"),)


def test_an_empty_file_has_the_usual_places(tmp_path: Path) -> None:
    settings = read_local_settings(write(tmp_path, ""), {"TZ": "Europe/Paris"})
    assert settings.store_file == Path("state/team.db")
    service = read_local_settings(write(tmp_path, ""), {"STATE_DIRECTORY": "/var/lib/a:/b"})
    assert service.state_file == Path("/var/lib/a/fitten.json")
    assert service.store_file == Path("/var/lib/a/team.db")
    assert (service.keys, service.teams) == ((), ())


def test_the_socket_is_in_the_runtime_directory_or_beside_the_state_file(tmp_path: Path) -> None:
    usual = read_local_settings(write(tmp_path, ""), {})
    assert usual.sockets == (Path("state/admin.sock"),)
    service = {"STATE_DIRECTORY": "/var/lib/a", "RUNTIME_DIRECTORY": "/run/a:/run/b"}
    assert read_local_settings(write(tmp_path, ""), service).sockets == (
        Path("/run/a/admin.sock"),
        Path("/var/lib/a/admin.sock"),
    )
    named = read_local_settings(write(tmp_path, "admin: {socket: /srv/s}"), service)
    assert named.sockets == (Path("/srv/s"),)


def test_no_store_is_none(tmp_path: Path) -> None:
    assert read_local_settings(write(tmp_path, "store: {url: none}"), {}).store_file is None


@pytest.mark.parametrize("text", ["[]", "1", "server: []", "middlewares: {api_key: 1}", "teams: x"])
def test_what_is_wrong_elsewhere_does_not_matter(tmp_path: Path, text: str) -> None:
    assert read_local_settings(write(tmp_path, text), {}).store_file == Path("state/team.db")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("store: {url: postgres}", "config.yaml:1: store.url: expected none, or an address like"),
        ("\nstore: {path: x}", "config.yaml:2: store.path: unknown option;"),
        ("store: {url: '${FILE}'}", "config.yaml:1: store.url: the environment variable FILE is"),
        ("server: {time_zone: Mars/City}", "server.time_zone: 'Mars/City' is not a time zone"),
        ("fitten: {state_file: [1]}", "config.yaml:1: fitten.state_file: expected"),
        ("a: [", "config.yaml:1: not valid YAML:"),
    ],
)
def test_a_mistake_in_what_is_needed_is_named_with_its_line(
    tmp_path: Path, text: str, mistake: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_local_settings(write(tmp_path, text), {})
    (line,) = caught.value.mistakes
    assert mistake in line


def test_an_ini_file_has_the_usual_places(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text("[Main]\nusername = a\npassword = b\napi_key = c\n")
    settings = read_local_settings(path, {})
    assert settings.keys == (ConfiguredName("default"),)
    assert settings.store_file == Path("state/team.db")


def test_a_file_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read_local_settings(tmp_path / "none.yaml", {})
