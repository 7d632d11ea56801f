"""No secret and no prompt is in what the admin API shows or the store keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from gateway.admin.api.routes import admin_routes
from tests.integration.admin.gateways import GatewayWithAdmin, gateway_with_admin
from tests.integration.admin.support import (
    BASE,
    METRICS_KEY,
    ROOT_KEY,
    VIEWER_KEY,
)
from tests.support import KEY
from tests.waiting import eventually, eventually_awaited

PROMPT = "canary-of-the-prompt"
PASSWORD = "correct horse"
QUERIES = {"/limits/check": "?key=alice"}
STREAMED = ("/events",)
# What an admin may paste into the wrong place.
WRONG_BODIES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/keys", {"name": "x", "key": KEY}),
    ("POST", "/keys", {"name": f"{KEY}\n"}),
    ("POST", "/keys", {"name": "x", "team": KEY}),
    ("POST", "/keys", {"name": "x", "routes": [KEY]}),
    ("POST", "/keys", {"name": "x", "kind": KEY}),
    ("POST", "/keys", {"name": "x", "limits": {"concurrency": KEY}}),
    ("PATCH", "/keys/alice", {"expires_at": KEY}),
    ("PATCH", f"/keys?team={KEY}", {}),
    ("POST", f"/keys/{KEY}/rotate", {}),
    ("DELETE", f"/teams/web?keys=move:{KEY}", None),
    ("POST", "/session", {"key": f"{KEY}-2"}),
    ("POST", "/grants", {"scope": "key", "scope_id": KEY, "limit": KEY, "amount": 1}),
    ("POST", f"/accounts/{KEY}/pause", {}),
)


async def shown(gateway: GatewayWithAdmin, key: str) -> dict[str, bytes]:
    """Return the answer of every route that only reads, and of some errors."""
    found: dict[str, bytes] = {}
    reads = [route for route in admin_routes() if route.method == "GET"]
    paths = [route.path + QUERIES.get(route.path, "") for route in reads]
    wrong = [f"/usage?by={KEY}", f"/usage?from={KEY}", f"/requests?status={KEY}"]
    wrong += [f"/requests?cursor={KEY}", f"/limits/check?key={KEY}", f"/live/{KEY}"]
    wrong += [f"/{one}/{KEY}" for one in ("keys", "admin-keys", "teams")]
    wrong += [f"/grants?scope_id={KEY}", f"/audit?cursor={KEY}", f"/keys?state={KEY}"]
    for path in [*paths, *wrong]:
        url = path.format(key="alice", team="web", account="demo_user", request="none")
        headers = {"Authorization": f"Bearer {key}"}
        async with gateway.admin.http.get(
            f"{gateway.admin.url}{BASE}{url}", headers=headers
        ) as response:
            if path in STREAMED:
                found[path] = await response.content.readuntil(b"\n\n")
            else:
                found[path] = await response.read()
    for number, (method, url, body) in enumerate(WRONG_BODIES):
        answer = await gateway.admin.call(method, url, body, key=key)
        assert answer.status >= 400, answer.body
        found[f"{method} {url} {number}"] = str(answer.body).encode()
    return found


def stored(folder: Path) -> dict[str, bytes]:
    """Return every file of the state folder but that of Fitten's tokens."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.name: file.read_bytes() for file in files if file.name != "fitten.json"}


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_secret_is_shown_or_stored(
    emulator: Emulator, tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    async with gateway_with_admin(emulator, tmp_path, workers=workers) as gateway:
        await gateway.admin.call("POST", "/teams", {"name": "web"})
        made = await gateway.admin.make_key("alice", team="web")
        rotated = await gateway.admin.call("POST", "/keys/alice/rotate", {})
        admin_key = (await gateway.admin.make_admin_key("bob"))["key"]
        session = await gateway.admin.call("POST", "/session", {"key": admin_key}, key=None)
        cookie = session.headers["Set-Cookie"].split(";")[0].partition("=")[2]
        file = tmp_path / "state" / "fitten.json"
        await eventually(file.exists)
        tokens = json.loads(file.read_text())
        secrets = [made["key"], rotated.body["key"], admin_key, cookie, KEY, PASSWORD, PROMPT]
        secrets += [ROOT_KEY, VIEWER_KEY, METRICS_KEY, *_tokens(tokens)]
        async with gateway.chat(PROMPT, key=made["key"]) as response:
            assert response.status == 200
            secrets.append((await response.json())["choices"][0]["message"]["content"])
        async with gateway.chat(f"[[endless]] {PROMPT}", key=made["key"], stream=True) as response:
            await response.content.readany()
            await eventually_awaited(lambda: _rows(gateway))
            answers = await shown(gateway, ROOT_KEY) | {
                f"{path} for bob": body for path, body in (await shown(gateway, admin_key)).items()
            }
            files = stored(tmp_path / "state")
        assert {"/live", "/config", "/usage.csv", "/requests", "/audit", "/keys"} <= set(answers)
        assert b"alice" in answers["/live"]
        assert b"alice" in answers["/usage.csv"]
        assert any(name.endswith("-wal") for name in files), "SQLite's log is looked at too"
    printed = "".join(capfd.readouterr()).encode()
    for place, content in (answers | files | {"the log": printed}).items():
        leaked = [secret for secret in secrets if secret.encode() in content]
        assert leaked == [], place


def _tokens(value: Any) -> list[str]:
    """Return the tokens and ids of the state file."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _tokens(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _tokens(inner)]
    return [value] if isinstance(value, str) and len(value) > 16 and "://" not in value else []


async def _rows(gateway: GatewayWithAdmin) -> Any:
    return (await gateway.admin.call("GET", "/requests?key=alice")).body["rows"]
