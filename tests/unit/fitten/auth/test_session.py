"""One account's session, before an emulated Fitten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog

from emulator import EmulatedAccount as EmulatedAccount
from emulator import Emulator
from gateway.config import settings as config
from gateway.errors import (
    AccountRefused,
    GatewayError,
    Unavailable,
    UpstreamError,
    UpstreamTimeout,
)
from gateway.fitten.auth.session import FittenSession
from gateway.fitten.client import FittenClient
from gateway.options import Secret
from gateway.store.token_file import TokenFile, Tokens
from tests.waiting import NEVER, eventually

LOGIN = "/codeuser/auth/login"
REFRESH = "/codeuser/auth/refresh_access_token"

NAME, PASSWORD = "demo_user", "correct horse"


class SessionClock:
    """Stands in for the module `time` in the session: the test can move it forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class SessionBench:
    """An emulator, and sessions before it."""

    def __init__(self, emulator: Emulator, stack: AsyncExitStack, folder: Path) -> None:
        self.emulator = emulator
        self.account = emulator.account(NAME)
        self.secrets: list[str] = []
        self._stack = stack
        self.file = folder / "fitten.json"

    async def session(self, *, url: str | None = None, password: str = PASSWORD) -> FittenSession:
        account = config.AccountSettings(NAME, Secret(password))
        settings = config.FittenSettings(
            accounts=(account,),
            base_url=url or self.emulator.url,
            timeouts=config.TimeoutSettings(connect=NEVER, call=NEVER),
        )
        client = FittenClient(settings)
        await self._stack.enter_async_context(client.open())
        file = TokenFile(self.file, f"{self.emulator.url} {NAME}")
        session = FittenSession(client, account, file, on_secret=self.secrets.append)
        await session.start()
        self._stack.push_async_callback(session.close)
        return session

    @property
    def calls(self) -> tuple[int, int]:
        """How many logins and refreshes there were."""
        return len(self.emulator.calls_to(LOGIN)), len(self.emulator.calls_to(REFRESH))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SessionClock:
    clock = SessionClock()
    monkeypatch.setattr("gateway.fitten.auth.session.time", clock)
    return clock


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[SessionBench]:
    accounts = [EmulatedAccount(NAME, PASSWORD)]
    async with (
        Emulator(accounts=accounts, access_ttl=1000.0, slow=0.1) as emulator,
        AsyncExitStack() as stack,
    ):
        yield SessionBench(emulator, stack, tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    await eventually(condition)


async def fault(session: FittenSession) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await session.tokens()
    return caught.value


async def test_the_first_need_logs_in_and_the_next_finds_the_tokens(bench: SessionBench) -> None:
    session = await bench.session()
    assert (session.ready, session.fault) == (False, None)
    tokens = await session.tokens()
    assert tokens.user_id == "u_demo_user"
    assert await session.tokens() == tokens
    assert session.ready
    assert bench.calls == (1, 0)
    assert bench.emulator.calls_to(LOGIN)[0].body == {"username": NAME, "password": PASSWORD}


async def test_fifty_requests_at_once_cause_one_login(bench: SessionBench) -> None:
    bench.account.scenarios.add("login_slow")
    session = await bench.session()
    found = await asyncio.gather(*(session.tokens() for _ in range(50)))
    assert len(set(found)) == 1
    assert bench.calls == (1, 0)


async def test_fifty_refused_requests_at_once_cause_one_refresh(bench: SessionBench) -> None:
    session = await bench.session()
    old = await session.tokens()
    bench.account.scenarios.add("refresh_slow")
    found = await asyncio.gather(*(session.replace(old, "refresh") for _ in range(50)))
    assert len(set(found)) == 1
    assert found[0].access_token != old.access_token
    assert found[0].refresh_token == old.refresh_token
    assert bench.calls == (1, 1)
    assert await session.replace(old, "refresh") == found[0]
    assert bench.calls == (1, 1)


async def test_the_refresh_token_is_the_bearer_of_a_refresh(bench: SessionBench) -> None:
    session = await bench.session()
    old = await session.tokens()
    await session.replace(old, "refresh")
    (call,) = bench.emulator.calls_to(REFRESH)
    assert call.headers["Authorization"] == f"Bearer {old.refresh_token}"
    assert call.body in (None, {})


async def test_a_request_that_leaves_does_not_cancel_the_login_of_the_others(
    bench: SessionBench,
) -> None:
    bench.account.scenarios.add("login_slow")
    session = await bench.session()
    waiting = [asyncio.create_task(session.tokens()) for _ in range(5)]
    await until(lambda: bench.calls == (1, 0))
    waiting[0].cancel()
    waiting[3].cancel()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert isinstance(found[3], asyncio.CancelledError)
    assert isinstance(found[1], Tokens)
    assert found[1] == found[2] == found[4]
    assert bench.calls == (1, 0)


async def test_a_login_goes_on_when_all_requests_have_left(bench: SessionBench) -> None:
    bench.account.scenarios.add("login_slow")
    session = await bench.session()
    waiting = asyncio.create_task(session.tokens())
    await until(lambda: bench.calls == (1, 0))
    waiting.cancel()
    await until(lambda: session.ready)
    await session.tokens()
    assert bench.calls == (1, 0)


async def test_a_token_is_refreshed_ahead_of_its_expiry_while_the_old_one_serves(
    bench: SessionBench, clock: SessionClock
) -> None:
    session = await bench.session()
    old = await session.tokens()
    clock.ahead = 930.0
    assert await session.tokens() == old
    assert bench.calls == (1, 0)
    clock.ahead = 950.0
    bench.account.scenarios.add("refresh_slow")
    for _ in range(20):
        assert await session.tokens() == old
    await until(lambda: session._renewal is None)
    new = await session.tokens()
    assert new.access_token != old.access_token
    assert bench.calls == (1, 1)


async def test_an_expired_token_is_not_used(bench: SessionBench, clock: SessionClock) -> None:
    session = await bench.session()
    old = await session.tokens()
    clock.ahead = 1001.0
    assert (await session.tokens()).access_token != old.access_token
    assert bench.calls == (1, 1)


async def test_a_refresh_ahead_that_fails_leaves_the_old_token_in_use(
    bench: SessionBench, clock: SessionClock
) -> None:
    session = await bench.session()
    old = await session.tokens()
    bench.account.scenarios.add("refresh_500")
    clock.ahead = 950.0
    await session.tokens()
    await until(lambda: session._renewal is None)
    for _ in range(5):
        assert await session.tokens() == old
    assert bench.calls == (1, 1)
    assert session.ready, "requests are still served"


async def test_not_expired_is_never_a_token(bench: SessionBench, clock: SessionClock) -> None:
    session = await bench.session()
    old = await session.tokens()
    bench.account.scenarios.add("refresh_not_expired")
    new = await session.replace(old, "refresh")
    assert "Not expired" not in (new.access_token, new.refresh_token)
    assert new.access_token != old.access_token
    clock.ahead = 1001.0
    assert (await session.tokens()).access_token.count(".") == 2
    assert "Not expired" not in bench.secrets
    assert b"Not expired" not in bench.file.read_bytes()


@pytest.mark.parametrize("scenario", ["clock_ahead", "token_without_exp", "opaque_token"])
async def test_a_token_of_doubtful_expiry_is_trusted_until_it_is_refused(
    bench: SessionBench, scenario: str
) -> None:
    bench.account.scenarios.add(scenario)
    session = await bench.session()
    old = await session.tokens()
    for _ in range(5):
        assert await session.tokens() == old
    assert bench.calls == (1, 0)
    assert (await session.replace(old, "refresh")).access_token != old.access_token
    assert bench.calls == (1, 1)


@pytest.mark.parametrize("scenario", ["refresh_401", "refresh_404", "refresh_error_200"])
async def test_a_refused_refresh_leads_to_a_login(bench: SessionBench, scenario: str) -> None:
    session = await bench.session()
    old = await session.tokens()
    bench.account.scenarios.add(scenario)
    new = await session.replace(old, "refresh")
    assert new.access_token != old.access_token
    assert new.refresh_token != old.refresh_token
    assert bench.calls == (2, 1)


async def test_a_rotated_refresh_token_is_kept(bench: SessionBench) -> None:
    bench.account.scenarios.add("refresh_rotates")
    session = await bench.session()
    first = await session.tokens()
    second = await session.replace(first, "refresh")
    assert second.refresh_token != first.refresh_token
    await session.replace(second, "refresh")
    assert bench.calls == (1, 2)


async def test_a_login_is_made_when_that_is_asked_for(bench: SessionBench) -> None:
    session = await bench.session()
    old = await session.tokens()
    new = await session.replace(old, "login")
    assert new.access_token != old.access_token
    assert bench.calls == (2, 0)


@pytest.mark.parametrize("scenario", ["wrong_password_200", "wrong_password_401", "banned"])
async def test_a_wrong_password_is_reported_plainly_and_not_repeated(
    bench: SessionBench, clock: SessionClock, scenario: str
) -> None:
    bench.account.scenarios.add(scenario)
    session = await bench.session()
    with structlog.testing.capture_logs() as logged:
        error = await fault(session)
    assert isinstance(error, AccountRefused)
    assert "user name or password" in error.message
    assert "made up" not in error.message
    assert PASSWORD not in error.message
    assert not error.retryable
    assert [(event["event"], event["log_level"]) for event in logged] == [
        ("session_credentials_refused", "error")
    ]
    for _ in range(10):
        error = await fault(session)
    assert error.retry_after is not None
    assert 20 < error.retry_after <= 36
    assert session.fault is not None
    assert not session.ready
    clock.ahead = 25.0
    await fault(session)
    assert bench.calls == (1, 0)


async def test_waits_after_a_wrong_password_grow_to_an_hour(
    bench: SessionBench, clock: SessionClock
) -> None:
    session = await bench.session(password="wrong")
    waits = []
    for attempt in range(1, 10):
        await fault(session)
        assert bench.calls == (attempt, 0)
        waits.append((await fault(session)).retry_after or 0.0)
        clock.ahead += waits[-1]
    assert all(later > earlier for earlier, later in pairwise(waits[:7]))
    assert 3600 <= waits[-1] <= 1.2 * 3600 + 1


async def test_a_password_that_is_right_again_ends_the_pause(
    bench: SessionBench, clock: SessionClock
) -> None:
    bench.account.scenarios.add("wrong_password_200")
    session = await bench.session()
    await fault(session)
    bench.account.scenarios.clear()
    clock.ahead = 40.0
    assert await session.tokens()
    assert session.ready
    assert session.fault is None


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        ("login_422", UpstreamError),
        ("login_500", UpstreamError),
        ("login_html_502", UpstreamError),
        ("login_not_json", UpstreamError),
        ("login_incomplete", UpstreamError),
    ],
)
async def test_a_passing_fault_of_the_login_backs_off(
    bench: SessionBench, clock: SessionClock, scenario: str, kind: type[GatewayError]
) -> None:
    bench.account.scenarios.add(scenario)
    session = await bench.session()
    assert isinstance(await fault(session), kind)
    waits = []
    for attempt in range(1, 9):
        waits.append((await fault(session)).retry_after or 0.0)
        assert bench.calls == (attempt, 0)
        clock.ahead += waits[-1]
        await fault(session)
    assert 1 <= waits[0] <= 2
    assert waits == sorted(waits)
    assert 60 <= waits[-1] <= 73
    bench.account.scenarios.clear()
    clock.ahead += 80
    assert await session.tokens()


async def test_an_outage_of_days_is_survived(bench: SessionBench, clock: SessionClock) -> None:
    bench.account.scenarios.add("login_500")
    session = await bench.session()
    session._failures = 5000
    assert isinstance(await fault(session), UpstreamError)
    clock.ahead = 100.0
    bench.account.scenarios.clear()
    assert await session.tokens()


async def test_a_wrong_password_for_years_is_survived(bench: SessionBench) -> None:
    session = await bench.session(password="wrong")
    session._failures = 5000
    assert isinstance(await fault(session), Unavailable)


async def test_a_login_that_takes_too_long_is_a_timeout(
    bench: SessionBench, tmp_path: Path
) -> None:
    async with Emulator(accounts=[EmulatedAccount(NAME, PASSWORD)], slow=NEVER) as slow:
        slow.account(NAME).scenarios.add("login_slow")
        account = config.AccountSettings(NAME, Secret(PASSWORD))
        timeouts = config.TimeoutSettings(call=0.1)
        client = FittenClient(
            config.FittenSettings(accounts=(account,), base_url=slow.url, timeouts=timeouts)
        )
        async with client.open():
            session = FittenSession(client, account, TokenFile(tmp_path / "other.json", "a"))
            assert isinstance(await fault(session), UpstreamTimeout)


async def test_a_fitten_that_cannot_be_reached_is_reported_without_its_address(
    bench: SessionBench,
) -> None:
    session = await bench.session(url="http://127.0.0.1:9")
    error = await fault(session)
    assert error.status == 502
    assert "127.0.0.1" not in error.message


async def test_a_token_that_is_refused_costs_a_login_where_no_refresh_helps(
    bench: SessionBench,
) -> None:
    session = await bench.session()
    old = await session.tokens()
    bench.account.scenarios.add("refresh_500")
    assert await session.replace(old, "refresh") != old
    assert bench.calls == (2, 1)


async def test_tokens_survive_a_restart(bench: SessionBench) -> None:
    tokens = await (await bench.session()).tokens()
    again = await bench.session()
    assert again.ready
    assert await again.tokens() == tokens
    assert bench.calls == (1, 0)


async def test_stored_tokens_that_have_expired_are_refreshed(
    bench: SessionBench, clock: SessionClock
) -> None:
    old = await (await bench.session()).tokens()
    clock.ahead = 1001.0
    new = await (await bench.session()).tokens()
    assert new.access_token != old.access_token
    assert bench.calls == (1, 1)


async def test_a_broken_state_file_costs_a_login_only(bench: SessionBench) -> None:
    bench.file.write_text("{")
    assert await (await bench.session()).tokens()
    assert bench.calls == (1, 0)
    assert bench.file.with_name("fitten.json.broken").exists()


async def test_a_state_file_that_cannot_be_written_is_only_a_warning(bench: SessionBench) -> None:
    bench.file.mkdir()
    session = await bench.session()
    with structlog.testing.capture_logs() as logged:
        assert await session.tokens()
    assert "token_file_not_written" in [event["event"] for event in logged]
    assert session.ready


async def test_every_token_is_reported_to_be_masked(bench: SessionBench) -> None:
    session = await bench.session()
    first = await session.tokens()
    second = await session.replace(first, "refresh")
    assert {
        first.access_token,
        first.refresh_token,
        first.user_id,
        second.access_token,
    } <= set(bench.secrets)


class ScriptedClient:
    """A client whose refresh gives the answer that the test sets."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    async def refresh_access_token(self, _: str) -> dict[str, Any]:
        return self.answer

    async def login(self, _: str, __: str) -> dict[str, Any]:
        return {"access_token": "a-2", "refresh_token": "r-2", "user_info": {"user_id": "u"}}


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("P1D", 86_400.0),
        ("PT2H", 7_200.0),
        ("P1DT1H1M1S", 90_061.0),
        ("PT61S", 61.0),
        ("P", None),
        ("PT0S", None),
        ("1 day", None),
        ("P-1D", None),
        ("", None),
        (86400, None),
        (None, None),
        ("P" + "9" * 400 + "D", None),
        ("P" + "9" * 5000 + "D", None),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_duration_says_when_a_token_without_exp_expires(
    tmp_path: Path, duration: object, seconds: float | None
) -> None:
    scripted: Any = ScriptedClient({"access_token": "a-1", "access_token_expires": duration})
    account = config.AccountSettings(NAME, Secret(PASSWORD))
    session = FittenSession(scripted, account, TokenFile(tmp_path / "fitten.json", "a"))
    tokens = await session.tokens()
    before = time.time()
    renewed = await session.replace(tokens, "refresh")
    if seconds is None:
        assert renewed.expires_at is None
    else:
        assert renewed.expires_at is not None
        assert before <= renewed.expires_at - seconds <= time.time()


@pytest.mark.parametrize("token", ["", "Not expired", None, 5, "a\r\nb", "tökén", {}])
async def test_what_cannot_be_a_token_is_not_taken_for_one(tmp_path: Path, token: object) -> None:
    scripted: Any = ScriptedClient({"access_token": token, "refresh_token": token})
    account = config.AccountSettings(NAME, Secret(PASSWORD))
    session = FittenSession(scripted, account, TokenFile(tmp_path / "fitten.json", "a"))
    old = await session.tokens()
    new = await session.replace(old, "refresh")
    assert (new.access_token, new.refresh_token) == ("a-2", "r-2")


@pytest.mark.parametrize(
    ("scenario", "event", "fields"),
    [
        (
            "wrong_password_200",
            "session_credentials_refused",
            {"detail": "user name or password refused"},
        ),
        (
            "login_422",
            "session_failed",
            {"upstream_status": 422, "detail": "no answer of a login; wrong address or a proxy?"},
        ),
        ("login_500", "session_failed", {"upstream_status": 500}),
        ("login_html_502", "session_failed", {"upstream_status": 502}),
        ("login_not_json", "session_failed", {"code": "upstream_invalid_response"}),
    ],
)
async def test_a_login_that_fails_says_which_of_its_causes_it_was(
    bench: SessionBench, scenario: str, event: str, fields: dict[str, Any]
) -> None:
    bench.account.scenarios.add(scenario)
    session = await bench.session()
    with structlog.testing.capture_logs() as logged:
        await fault(session)
    (line,) = (line for line in logged if line["event"] == event)
    assert line["account"] == NAME
    assert {name: line.get(name) for name in fields} == fields


async def test_a_login_that_cannot_connect_says_so_now_and_while_it_pauses(
    bench: SessionBench,
) -> None:
    session = await bench.session(url="http://127.0.0.1:9")
    with structlog.testing.capture_logs() as logged:
        await fault(session)
    assert [(line["event"], line["detail"]) for line in logged] == [
        ("session_failed", "Connection refused")
    ]
    assert (await fault(session)).detail == "Connection refused"
