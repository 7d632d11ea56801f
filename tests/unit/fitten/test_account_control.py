"""What an admin sees of accounts, and does with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from emulator import EmulatedAccount, Emulator
from gateway.accounts.account import Account
from gateway.config.settings import AccountSettings, Config, FittenSettings
from gateway.errors import AccountRefused, NotFound, Unavailable
from gateway.fitten.account_control import AccountControl
from gateway.fitten.account_registry import LocalAccountRegistry
from gateway.fitten.client import FittenClient
from gateway.options import Secret
from tests.waiting import NEVER, eventually

LOGIN = "/codeuser/auth/login"


class ControlBench:
    """Two accounts before an emulator: `demo_user`, and `other`."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        config = Config(
            fitten=FittenSettings(
                accounts=(
                    AccountSettings("demo_user", Secret("correct horse")),
                    AccountSettings("other", Secret("battery staple")),
                ),
                base_url=emulator.url,
                models_url=emulator.url,
                models_refresh=NEVER,
                state_file=str(folder / "fitten.json"),
            )
        )
        self.client = FittenClient(config.fitten)
        self.registry = LocalAccountRegistry(config, self.client, lambda _: None)
        self.control = AccountControl(self.registry.pool)

    def logins(self) -> int:
        return len(self.emulator.calls_to(LOGIN))


def state_of(account: Account[Any]) -> str:
    return account.state


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ControlBench]:
    accounts = [
        EmulatedAccount("demo_user", "correct horse"),
        EmulatedAccount("other", "battery staple"),
    ]
    async with AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(Emulator(accounts=accounts, slow=NEVER))
        bench = ControlBench(emulator, tmp_path)
        await stack.enter_async_context(bench.client.open())
        yield bench


async def test_the_state_of_each_account_is_shown(bench: ControlBench) -> None:
    async with bench.registry.maintained(lambda _: None):
        await eventually(lambda: all(state.logged_in for state in bench.control.states()))
        lease = bench.registry.pool.take()
        assert lease is not None
        bench.control.pause("other", 90, "boss")
        one, two = bench.control.states()
    assert (one.name, one.state, one.reason, one.chats) == ("demo_user", "healthy", None, 1)
    assert one.max_chats
    assert one.max_completions
    assert one.next_try_in == 0
    assert (two.name, two.state, two.code) == ("other", "paused", "no_account_available")
    assert two.reason is not None
    assert "administrator" in two.reason
    assert two.next_try_in is not None
    assert 80 < two.next_try_in <= 90


async def test_a_paused_account_makes_no_call_at_all(bench: ControlBench) -> None:
    bench.control.pause("other", None, "boss")
    async with bench.registry.maintained(lambda _: None):
        await bench.registry.tried.wait()
        (state,) = (state for state in bench.control.states() if state.name == "other")
        assert state.next_try_in is None
        assert not state.logged_in
    assert bench.logins() == 1


async def test_a_login_is_made_anew_and_ends_a_pause_after_failures(bench: ControlBench) -> None:
    account = bench.registry.pool.accounts[0]
    bench.emulator.account("demo_user").password = "changed"
    with pytest.raises(AccountRefused):
        await bench.control.log_in("demo_user", "boss")
    assert bench.control.states()[0].state == "dead"
    bench.emulator.account("demo_user").password = "correct horse"
    lease = bench.registry.pool.take(without=("other",))
    assert lease is None, "its login was refused"
    await bench.control.log_in("demo_user", "boss")
    assert bench.logins() == 2
    assert account.ready
    assert state_of(account) == "healthy"
    await bench.control.log_in("demo_user", "boss")
    assert bench.logins() == 3, "although the tokens are valid"
    for each in bench.registry.pool.accounts:
        await each.session.close()


async def test_a_login_ends_the_pause_of_an_account_that_fitten_refused(
    bench: ControlBench,
) -> None:
    account = bench.registry.pool.accounts[0]
    await account.session.tokens()
    lease = bench.registry.pool.take()
    assert lease is not None
    assert lease.account is account
    lease.release("refused", AccountRefused("banned"))
    assert state_of(account) == "dead"
    await bench.control.log_in("demo_user", "boss")
    assert state_of(account) == "half_open"
    await account.session.close()


async def test_who_did_it_is_logged_and_an_unknown_name_is_not_found(bench: ControlBench) -> None:
    with capture_logs() as events:
        bench.control.pause("other", None, "local:root")
        bench.control.resume("other", "boss")
        bench.control.resume("other", "boss")
    assert [(event["event"], event["by"]) for event in events] == [
        ("account_paused", "local:root"),
        ("account_resumed", "boss"),
    ]
    calls: list[Any] = [
        lambda: bench.control.pause("nobody", None, "boss"),
        lambda: bench.control.resume("nobody", "boss"),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    with pytest.raises(NotFound):
        await bench.control.log_in("nobody", "boss")


async def test_a_reload_during_a_login_is_an_error_that_says_so(bench: ControlBench) -> None:
    bench.emulator.account("demo_user").scenarios.add("login_slow")
    session = bench.registry.pool.accounts[0].session
    asked = asyncio.create_task(bench.control.log_in("demo_user", "boss"))
    await eventually(bench.logins)
    await session.close()
    with pytest.raises(Unavailable, match="other settings"):
        await asked
