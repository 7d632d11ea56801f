"""A stand-in for Fitten Code, for demos, tests and benchmarks.

It speaks the part of the Fitten HTTP protocol that a gateway needs: login, token refresh, model
list and streamed chat. What goes wrong is chosen per account (`EmulatedAccount.scenarios`) or
per chat request (a marker such as `[[truncate how=reset after=3]]` in the last user message).

Nothing here is shared with the gateway, so that one misreading cannot stand on both sides.
"""

from __future__ import annotations

from emulator.accounts import ACCOUNT_SCENARIOS, EmulatedAccount
from emulator.calls import WrittenCall
from emulator.server import Emulator

__all__ = ["ACCOUNT_SCENARIOS", "EmulatedAccount", "Emulator", "WrittenCall"]
