"""Code completion: the version, and each form of a request for text at the cursor."""

from __future__ import annotations

import pytest

from emulator import Emulator
from tests.unit.emulator.support import EmulatorClient, bearer

VERSION = "/codeuser/get_completion_version"


@pytest.mark.parametrize("query", ["?ft_token=u_demo_user", "?ft_token=nobody", ""])
async def test_the_version_needs_no_token(client: EmulatorClient, query: str) -> None:
    reply = await client.request("GET", VERSION + query)
    assert (reply.status, reply.raw) == (200, b'"1"')
    forged = await client.request("GET", VERSION + query, headers=bearer("forged"))
    assert (forged.status, forged.raw) == (200, b'"1"')


async def test_an_account_scenario_demands_a_token_for_the_version(
    emu: Emulator, member: EmulatorClient
) -> None:
    emu.account("demo_user").scenarios.add("version_needs_bearer")
    path = f"{VERSION}?ft_token=u_demo_user"
    assert (await member.request("GET", path)).status == 401
    assert (await member.request("GET", path, headers=bearer(member.access))).raw == b'"1"'
