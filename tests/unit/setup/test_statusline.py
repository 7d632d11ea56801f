"""The status line of an agent: what it shows, how often it asks, and that it never fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.setup import statusline
from gateway.setup.statusline import line_of

KEY = "statusline-key-0123456789"


def limit(name: str, maximum: int, left: int, scope: str = "key alice", **more: Any) -> Any:
    used = maximum - left
    return {
        "scope": scope,
        "limit": name,
        "maximum": maximum,
        "used": used,
        "left": left,
        "resets_in": 4000.0,
        **more,
    }


class AskedGateway:
    """A server that answers with `status` and `body`, and remembers what came."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes = json.dumps(
            {"limits": [limit("tokens_per_day", 5_000_000, 123)]}
        ).encode()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["Authorization"]))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def asked_gateway() -> Iterator[AskedGateway]:
    server = AskedGateway()
    yield server
    server.close()


class StatuslineUser:
    """Someone whose cache is in a folder of the test; `now` is the time by their clock."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"XDG_CACHE_HOME": str(folder / "cache")}
        self.config = folder / "config.yaml"
        self.later = 0.0

    def line(self, url: str | None = None, key_file: Path | None = None) -> str:
        import time

        now = time.time() + self.later
        return statusline.statusline(url, key_file, self.config, self.environ, now)


@pytest.fixture
def user(tmp_path: Path) -> StatuslineUser:
    return StatuslineUser(tmp_path)


def test_the_limits_with_the_smallest_shares_are_shown() -> None:
    limits = [
        limit("chats_per_minute", 60, 59),
        limit("concurrency", 8, 0),
        limit("listings_per_minute", 120, 0),
        limit("completions_per_minute", 300, 150),
        limit("tokens_per_day", 5_000_000, 1_234_567),
        limit("tokens_per_7d", 20_000_000_000, 19_990_000_000, "team web"),
        limit("requests_per_month", 2000, 0, "gateway"),
        limit("tokens_per_5h", 0, 0),
    ]
    assert line_of({"limits": limits}) == (
        "0/2k requests/month (gateway), resets in 1h7m | 1.2m/5m tokens/day | "
        "150/300 completions/min"
    )
    assert line_of({"limits": []}) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1m"), (60, "1m"), (61, "2m"), (3600, "1h0m"), (7260, "2h1m"), (200_000, "2d")],
)
def test_a_wait_is_rounded_up(seconds: float, text: str) -> None:
    line = line_of({"limits": [limit("tokens_per_day", 9, 0, resets_in=seconds)]})
    assert line == f"0/9 tokens/day, resets in {text}"


def test_the_gateway_is_asked_once_a_minute(
    user: StatuslineUser, asked_gateway: AskedGateway
) -> None:
    user.environ["FITTEN_GATEWAY_KEY"] = KEY
    url = asked_gateway.url + "/v1/"
    assert [user.line(url) for _ in range(3)] == ["123/5m tokens/day"] * 3
    assert asked_gateway.asked == [("/v1/usage", f"Bearer {KEY}")]
    user.later = 61
    asked_gateway.body = b'{"limits": []}'
    assert user.line(url) == ""
    assert len(asked_gateway.asked) == 2


def test_the_cache_is_for_its_owner_alone_and_has_no_key(
    user: StatuslineUser, asked_gateway: AskedGateway, tmp_path: Path
) -> None:
    user.environ["FITTEN_GATEWAY_KEY"] = KEY
    user.line(asked_gateway.url)
    folder = tmp_path / "cache/fitten-gateway"
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert KEY not in file.name + file.read_text()
    user.environ["FITTEN_GATEWAY_KEY"] = "another-key-0123456789"
    user.line(asked_gateway.url)
    assert len(list(folder.iterdir())) == 2, "each key has a line of its own"


def test_address_and_key_are_those_of_the_command_line_else_of_the_agent_else_of_the_file(
    user: StatuslineUser, asked_gateway: AskedGateway, tmp_path: Path
) -> None:
    user.environ |= {"ANTHROPIC_AUTH_TOKEN": "of-agent", "FITTEN_GATEWAY_KEY": "of-gateway"}
    port = asked_gateway.url.rpartition(":")[2]
    user.config.write_text(f"server: {{host: 127.0.0.1, port: {port}}}\n")
    user.line()
    user.environ["ANTHROPIC_BASE_URL"] = asked_gateway.url
    user.line()
    del user.environ["ANTHROPIC_AUTH_TOKEN"]
    user.environ["ANTHROPIC_API_KEY"] = "of-agent-too"
    user.line()
    key_file = tmp_path / "key"
    key_file.write_text("of-file\n")
    user.line(asked_gateway.url, key_file)
    keys = [key for _, key in asked_gateway.asked]
    assert keys == [f"Bearer {k}" for k in ("of-gateway", "of-agent", "of-agent-too", "of-file")]


def test_no_redirect_carries_the_key_to_another_server(
    user: StatuslineUser, asked_gateway: AskedGateway
) -> None:
    other = AskedGateway()
    try:
        asked_gateway.status, asked_gateway.headers = 302, {"Location": other.url + "/v1/usage"}
        user.environ["FITTEN_GATEWAY_KEY"] = KEY
        assert user.line(asked_gateway.url) == ""
        assert other.asked == []
    finally:
        other.close()


def run(folder: Path, url: str, stdin: str = "{}", **environ: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "statusline", "--url", url],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(folder), **environ},
    )


def test_the_command_ignores_what_the_agent_tells(
    asked_gateway: AskedGateway, tmp_path: Path
) -> None:
    told = json.dumps({"session_id": "x", "model": {"id": "fitten-code"}, "workspace": {}})
    result = run(tmp_path, asked_gateway.url, told, FITTEN_GATEWAY_KEY=KEY)
    assert (result.returncode, result.stdout, result.stderr) == (0, "123/5m tokens/day\n", "")


@pytest.mark.parametrize("fault", ["no gateway", "401", "no JSON", "no limits", "no cache", "line"])
def test_it_is_silent_and_exits_0_when_anything_fails(
    asked_gateway: AskedGateway, tmp_path: Path, fault: str
) -> None:
    url, folder, expected = asked_gateway.url, tmp_path, ""
    if fault == "no gateway":
        url = "http://127.0.0.1:1"
    elif fault == "401":
        asked_gateway.status = 401
    elif fault == "no JSON":
        asked_gateway.body = b"\xff<html>"
    elif fault == "no limits":
        asked_gateway.body = b'{"limits": [{"limit": "tokens_per_day", "maximum": "many"}]}'
    elif fault == "no cache":
        folder = tmp_path / "file"
        folder.write_text("not a folder")
        expected = "123/5m tokens/day\n"
    else:
        url = "no address\nat all"
    result = run(folder, url, "not JSON")
    assert (result.returncode, result.stdout, result.stderr) == (0, expected, "")


def test_it_imports_no_library(tmp_path: Path) -> None:
    code = (
        "import sys, gateway.cli\n"
        "status = gateway.cli.main(['statusline', '--url', 'http://127.0.0.1:1'])\n"
        "heavy = {'aiohttp', 'asyncio', 'msgspec', 'structlog', 'yaml', 'sqlite3'}\n"
        "sys.exit(status or sorted(heavy & set(sys.modules)) or 0)"
    )
    environ = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, env=environ, capture_output=True
    )
    assert (result.returncode, result.stderr) == (0, b"")
