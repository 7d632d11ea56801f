"""Requests that schemathesis makes up from the OpenAPI document; run by `make admin-schema`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from emulator import Emulator
from gateway.admin.api import throttle
from gateway.server.single_process import SingleProcess
from tests.integration.admin.support import BASE, ROOT_KEY, VIEWER_KEY
from tests.integration.admin.test_gateway import whole_gateway, whole_settings

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / ".venv" / "schemathesis" / "bin" / "schemathesis"
SECONDS = os.environ.get("SCHEMA_SECONDS", "60")

# What is valid by the types may still not fit to what is there: a name that is taken, a
# team that does not exist. That is 404 or 409, so this check would be wrong.
UNFIT = "positive_data_acceptance"
# A viewer gets 403, and nobody 401, before anything is read.
BY_CALLER = {
    "admin": (ROOT_KEY, UNFIT),
    "viewer": (VIEWER_KEY, f"{UNFIT},negative_data_rejection"),
    "nobody": (None, f"{UNFIT},negative_data_rejection"),
}


@pytest.mark.timeout(int(SECONDS) + 240)
@pytest.mark.parametrize("caller", BY_CALLER)
async def test_every_answer_is_as_the_document_says(
    caller: str, tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each operation is tried with wrong keys, all from one address.
    monkeypatch.setattr(throttle, "_FAILURES", 10**9)
    key, excluded = BY_CALLER[caller]
    async with whole_gateway(whole_settings(tmp_path, emulator)) as gateway:
        document = tmp_path / "openapi.json"
        async with gateway.http.get(
            f"{gateway.admin_url}{BASE}/openapi.json",
            headers={"Authorization": f"Bearer {ROOT_KEY}"},
        ) as response:
            document.write_bytes(await response.read())
        header = [] if key is None else ["--header", f"Authorization: Bearer {key}"]
        process = await asyncio.create_subprocess_exec(
            *(PROGRAM, "run", document, "--url", gateway.admin_url, "--seed", "1"),
            *("--max-time", SECONDS, "--exclude-checks", excluded, "--no-color", *header),
            # An event stream never ends.
            *("--exclude-path", f"{BASE}/events", "--request-timeout", "30"),
            cwd=tmp_path,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        print(output.decode())
        assert process.returncode == 0
        assert await alive(gateway.service)


async def alive(service: SingleProcess) -> bool:
    """Return whether the gateway still serves."""
    return not service.entrypoint.in_flight.closing
