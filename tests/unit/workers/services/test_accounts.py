"""Workers know the state and the models of the master's accounts, for each revision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from emulator import Emulator
from gateway.config.settings import AccountSettings, Config, FittenSettings
from gateway.errors import RateLimited
from gateway.generation.model import Model
from gateway.options import Secret
from gateway.workers.services.accounts import MasterAccounts
from tests.unit.workers.support import WorkerConnection, connected_workers, master_pool
from tests.waiting import eventually


@pytest.fixture
async def accounts(emulator: Emulator, tmp_path: Any) -> AsyncIterator[MasterAccounts]:
    config = Config(
        fitten=FittenSettings(
            accounts=(AccountSettings("demo_user", Secret("correct horse")),),
            base_url=emulator.url,
            models_url=emulator.url,
            state_file=str(tmp_path / "fitten.json"),
        )
    )
    accounts = MasterAccounts(2, config, lambda _: None)
    async with accounts.open():
        yield accounts


def models_of(worker: WorkerConnection, revision: int) -> list[str]:
    """Return the names of the models that an application of this revision has been told."""
    told: list[str] = []

    def on_models(models: Sequence[Model]) -> None:
        told.extend(model.id for model in models)

    worker.clients.accounts.known(revision).subscribe(on_models)
    return told


async def test_the_state_and_the_models_reach_the_revision_that_they_belong_to(
    accounts: MasterAccounts,
) -> None:
    async with connected_workers(master_pool(1)) as (worker,):
        told = models_of(worker, 2)
        worker.servers.accounts.add(accounts)
        known = worker.clients.accounts.known(2)
        await eventually(lambda: known.serving == (1, 1) and bool(told))
        assert known.fault is None
        assert models_of(worker, 2) == told, "told at once, since they are known"
        assert worker.clients.accounts.known(1).serving == (0, 0)
        assert not models_of(worker, 1)


async def test_a_fault_of_all_accounts_reaches_the_worker(accounts: MasterAccounts) -> None:
    async with connected_workers(master_pool(1)) as (worker,):
        worker.servers.accounts.add(accounts)
        known = worker.clients.accounts.known(2)
        await eventually(lambda: known.serving == (1, 1))
        lease = accounts.registry.pool.take()
        assert lease is not None
        lease.end(RateLimited("too many", retry_after=30.0))
        await eventually(lambda: known.fault is not None)
        assert known.serving == (0, 1)
        assert known.fault is not None
        assert known.fault.code == "upstream_rate_limited"


async def test_a_worker_that_has_left_a_revision_hears_no_more_of_it(
    accounts: MasterAccounts,
) -> None:
    async with connected_workers(master_pool(1)) as (worker,):
        worker.servers.accounts.add(accounts)
        assert worker.servers.accounts.pools[2] is accounts.registry.pool
        assert worker.servers.accounts.remove(2) is accounts
        assert worker.servers.accounts.remove(2) is None
        assert not accounts._listeners
        assert 2 not in worker.servers.accounts.pools
