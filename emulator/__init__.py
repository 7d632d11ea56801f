"""Stands in for Fitten Code in demos, tests and benchmarks.

The emulator implements the part of the Fitten HTTP protocol that a gateway needs: login, token
refresh, model list and streamed chat. Failures are chosen per account (`EmulatedAccount.scenarios`)
or per chat request (a marker such as `[[truncate how=reset after=3]]` in the last user message).

The emulator shares no code with the gateway, so that one misreading cannot be in both.
"""

from __future__ import annotations

from emulator.accounts import ACCOUNT_SCENARIOS, EmulatedAccount
from emulator.calls import WrittenCall
from emulator.server import Emulator

__all__ = ["ACCOUNT_SCENARIOS", "EmulatedAccount", "Emulator", "WrittenCall"]
