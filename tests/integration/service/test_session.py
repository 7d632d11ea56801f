"""The gateway's session with Fitten, as its clients and the upstream see it."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.integration.peer import LOGIN, REFRESH, UPSTREAM_CHAT
from tests.support import Gateway, content, running_gateway
from tests.waiting import NEVER, eventually

USER = "demo_user"


def counts(emulator: Emulator) -> tuple[int, int, int]:
    """Calls so far: logins, refreshes, chats."""
    logins, refreshes = emulator.calls_to(LOGIN), emulator.calls_to(REFRESH)
    return len(logins), len(refreshes), len(emulator.calls_to(UPSTREAM_CHAT))


async def many(gateway: Gateway, number: int) -> list[int]:
    answers = await asyncio.gather(*(gateway.whole("[[say]]") for _ in range(number)))
    return [status for status, _ in answers]


async def test_the_login_is_made_in_the_background_at_the_start(
    gateway: Gateway, emulator: Emulator
) -> None:
    await eventually(lambda: emulator.calls_to(LOGIN))
    (call,) = emulator.calls_to(LOGIN)
    assert call.body == {"username": USER, "password": "correct horse"}


async def test_requests_that_wait_for_the_login_share_one(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    emulator.account(USER).scenarios.add("login_slow")
    gateway = await start_gateway()
    assert await many(gateway, 30) == [200] * 30
    assert counts(emulator) == (1, 0, 30)


async def test_requests_whose_token_expired_share_one_refresh(
    gateway: Gateway, emulator: Emulator
) -> None:
    assert await many(gateway, 1) == [200]
    emulator.account(USER).scenarios.add("refresh_slow")
    emulator.clock.advance(86_401)  # access tokens last a day
    assert await many(gateway, 30) == [200] * 30
    logins, refreshes, chats = counts(emulator)
    assert (logins, refreshes) == (1, 1)
    assert chats <= 61


def names(folder: Path) -> set[str]:
    """Return the names of the state files."""
    return {path.name for path in folder.iterdir() if path.name.startswith("fitten.json")}


async def stored_tokens(folder: Path) -> Any:
    """Return the content of the state file, which is written while requests are served already."""
    await eventually(lambda: names(folder) == {"fitten.json"})
    return json.loads((folder / "fitten.json").read_text())


async def restart_with_expiry(
    start_gateway: StartGateway, emulator: Emulator, folder: Path, seconds: float
) -> Gateway:
    """Start a gateway whose stored token expires in this many seconds, as it believes."""
    async with running_gateway(emulator.url, folder) as first:
        assert await many(first, 1) == [200]
        await stored_tokens(folder)
    stored = await stored_tokens(folder)
    (entry,) = stored["accounts"].values()
    entry["expires_at"] += seconds - 86_400
    (folder / "fitten.json").write_text(json.dumps(stored))
    emulator.calls.clear()
    return await start_gateway()


async def test_an_expired_token_is_refreshed_before_it_is_used(
    start_gateway: StartGateway, emulator: Emulator, tmp_path: Path
) -> None:
    gateway = await restart_with_expiry(start_gateway, emulator, tmp_path, -10)
    assert await many(gateway, 30) == [200] * 30
    assert counts(emulator) == (0, 1, 30)


async def test_a_token_about_to_expire_is_refreshed_without_anyone_waiting(
    start_gateway: StartGateway, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.account(USER).scenarios.add("refresh_slow")
    emulator.change_slow(NEVER)
    gateway = await restart_with_expiry(start_gateway, emulator, tmp_path, 59)
    assert await many(gateway, 10) == [200] * 10
    (refresh,) = await eventually(lambda: emulator.calls_to(REFRESH))
    assert not refresh.done
    emulator.release()
    await refresh.done.wait()
    assert await many(gateway, 10) == [200] * 10
    assert counts(emulator) == (0, 1, 20)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_refused_token_is_refreshed_and_the_request_repeated_once(
    gateway: Gateway, emulator: Emulator, stream: bool
) -> None:
    async with gateway.post_chat("[[unauthorized times=1]]", stream=stream) as response:
        assert response.status == 200
        await response.read()
    assert counts(emulator) == (1, 1, 2)
    first, second = emulator.calls_to(UPSTREAM_CHAT)
    assert first.headers["Authorization"] != second.headers["Authorization"]


async def test_a_token_refused_again_leads_to_one_login(
    gateway: Gateway, emulator: Emulator
) -> None:
    assert (await gateway.whole("[[unauthorized times=2]]"))[0] == 200
    assert counts(emulator) == (2, 1, 3)


async def test_a_third_refusal_is_the_end(gateway: Gateway, emulator: Emulator) -> None:
    status, answer = await gateway.whole("[[unauthorized times=3]]")
    assert status in (502, 503)
    assert answer["error"]["type"] == "server_error"
    assert counts(emulator) == (2, 1, 3)


async def test_an_account_that_is_always_refused_costs_three_chats_at_most(
    gateway: Gateway, emulator: Emulator
) -> None:
    emulator.account(USER).scenarios.add("chat_always_401")
    async with gateway.post_chat("Hi", stream=True) as response:
        assert response.status in (502, 503)
    assert counts(emulator)[2] <= 3


async def test_an_account_that_is_always_refused_is_not_logged_in_for_every_request(
    gateway: Gateway, emulator: Emulator
) -> None:
    emulator.account(USER).scenarios.add("chat_always_401")
    for _ in range(10):
        assert (await gateway.whole("Hi"))[0] in (502, 503)
    assert counts(emulator)[0] <= 3


@pytest.mark.parametrize(
    "scenario", ["refresh_not_expired", "refresh_401", "refresh_404", "refresh_error_200"]
)
async def test_a_refused_refresh_leads_to_a_login(
    gateway: Gateway, emulator: Emulator, scenario: str
) -> None:
    assert await many(gateway, 1) == [200]
    account = emulator.account(USER)
    account.scenarios.add(scenario)
    account.revoke_access()
    assert await many(gateway, 5) == [200] * 5
    logins, refreshes, _ = counts(emulator)
    assert logins == 2
    assert refreshes <= 1
    assert not [c for c in emulator.calls if "Not expired" in c.headers.get("Authorization", "")]


async def test_a_refresh_that_fails_for_now_does_not_fail_the_request(
    gateway: Gateway, emulator: Emulator
) -> None:
    assert await many(gateway, 1) == [200]
    account = emulator.account(USER)
    account.scenarios.add("refresh_500")
    account.revoke_access()
    assert await many(gateway, 1) == [200]  # by the login that follows a refresh
    assert counts(emulator)[0] == 2


async def test_a_rotated_refresh_token_replaces_the_old_one(
    gateway: Gateway, emulator: Emulator
) -> None:
    assert await many(gateway, 1) == [200]
    account = emulator.account(USER)
    account.scenarios.add("refresh_rotates")
    for _ in range(2):
        account.revoke_access()
        assert await many(gateway, 1) == [200]
    assert counts(emulator)[:2] == (1, 2)


@pytest.mark.parametrize("kind", ["token_without_exp", "opaque_token", "clock_ahead"])
async def test_a_token_of_unknown_expiry_is_used_until_it_is_refused(
    start_gateway: StartGateway, emulator: Emulator, kind: str
) -> None:
    emulator.account(USER).scenarios.add(kind)
    gateway = await start_gateway()
    for _ in range(3):
        assert await many(gateway, 3) == [200] * 3
    assert counts(emulator)[:2] == (1, 0)


@pytest.mark.parametrize("scenario", ["wrong_password_200", "wrong_password_401"])
async def test_a_wrong_password_is_reported_plainly_and_not_tried_in_a_loop(
    start_gateway: StartGateway, emulator: Emulator, log_events: list[Any], scenario: str
) -> None:
    emulator.account(USER).scenarios.add(scenario)
    gateway = await start_gateway()
    for _ in range(4):
        assert set(await many(gateway, 5)) <= {502, 503}
    async with gateway.post_chat("[[say]]", stream=True) as response:
        raw = await response.text()
        error = (await response.json())["error"]
        assert response.status == 503
        assert response.headers["x-should-retry"] == "false"
    assert error["code"] == "no_account_available"
    assert "password" in error["message"]
    assert not re.search("made up|correct horse|demo_user|Incorrect|用户名", raw)
    assert counts(emulator)[0] <= 2
    (event,) = [e for e in log_events if e["event"] == "session_credentials_refused"]
    assert event["log_level"] == "error"
    assert "correct horse" not in str(log_events)
    assert "made up" not in str(log_events)
    assert "用户名" not in str(log_events)


@pytest.mark.parametrize(
    "scenario", ["login_422", "login_500", "login_html_502", "login_not_json", "login_incomplete"]
)
async def test_a_login_that_fails_is_reported_and_not_tried_in_a_loop(
    start_gateway: StartGateway, emulator: Emulator, scenario: str
) -> None:
    emulator.account(USER).scenarios.add(scenario)
    # So short that requests do not wait for the end of a pause.
    gateway = await start_gateway(fitten={"pool": {"queue_wait": 0.05}})
    for _ in range(4):
        assert set(await many(gateway, 5)) <= {502, 503}
    assert counts(emulator)[0] <= 2


async def test_a_banned_account_is_reported_and_not_tried_in_a_loop(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    emulator.account(USER).scenarios.add("banned")
    gateway = await start_gateway()
    async with gateway.post_chat("Hi") as response:
        assert response.status in (502, 503)
        assert "made up" not in await response.text()
    assert set(await many(gateway, 20)) <= {502, 503}
    assert counts(emulator)[0] <= 2


async def test_the_gateway_recovers_when_the_login_does(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    emulator.account(USER).scenarios.add("login_500")
    gateway = await start_gateway()
    assert set(await many(gateway, 1)) <= {502, 503}
    emulator.account(USER).scenarios.clear()
    await asyncio.sleep(1.25)  # the first pause is a second, and a fifth at most
    assert await many(gateway, 1) == [200]


async def test_tokens_survive_a_restart(emulator: Emulator, tmp_path: Path) -> None:
    for _ in range(3):
        async with running_gateway(emulator.url, tmp_path) as gateway:
            assert await many(gateway, 1) == [200]
            await stored_tokens(tmp_path)
    assert counts(emulator)[:2] == (1, 0)


async def test_refreshed_tokens_survive_a_restart(emulator: Emulator, tmp_path: Path) -> None:
    emulator.account(USER).scenarios.add("refresh_rotates")
    for _ in range(3):
        async with running_gateway(emulator.url, tmp_path) as gateway:
            assert await many(gateway, 1) == [200]
            emulator.account(USER).revoke_access()
            assert await many(gateway, 1) == [200]
    assert counts(emulator)[:2] == (1, 3)


async def test_the_state_file_is_for_its_owner_only(gateway: Gateway, tmp_path: Path) -> None:
    await many(gateway, 1)
    await stored_tokens(tmp_path)
    path = tmp_path / "fitten.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"correct horse" not in path.read_bytes()


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"account": 5}'],
    ids=lambda raw: raw[:8].decode("latin-1") or "empty",
)
async def test_a_broken_state_file_is_set_aside(
    start_gateway: StartGateway, tmp_path: Path, log_events: list[Any], broken: bytes
) -> None:
    path = tmp_path / "fitten.json"
    path.write_bytes(broken)
    gateway = await start_gateway()
    assert await many(gateway, 1) == [200]
    await eventually(lambda: names(tmp_path) == {"fitten.json", "fitten.json.broken"})
    assert (tmp_path / "fitten.json.broken").read_bytes() == broken
    (entry,) = json.loads(path.read_bytes())["accounts"].values()
    assert entry["access_token"]
    assert [e["log_level"] for e in log_events if e["event"] == "token_file_broken"] == ["warning"]


async def test_tokens_of_another_account_are_not_used(emulator: Emulator, tmp_path: Path) -> None:
    async with running_gateway(emulator.url, tmp_path) as gateway:
        assert await many(gateway, 1) == [200]
    other = {"accounts": [{"username": "somebody", "password": "else"}]}
    async with running_gateway(emulator.url, tmp_path, fitten=other) as gateway:
        assert set(await many(gateway, 1)) <= {502, 503}
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 1


@pytest.mark.parametrize("marker", ["reset", "error_middle", "truncate"])
async def test_nothing_is_repeated_after_the_first_piece(
    gateway: Gateway, emulator: Emulator, marker: str
) -> None:
    frames = await gateway.stream(f"[[{marker}]]")
    assert "[DONE]" not in frames
    assert content(frames)
    assert counts(emulator) == (1, 0, 1)
