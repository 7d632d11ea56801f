"""Claims and verdicts between processes."""

from __future__ import annotations

import msgspec

from gateway.limits.claims import Claim, Scope, Verdict
from gateway.principal import Principal
from tests.unit.limits.support import Clocked, gateway


def test_claims_and_verdicts_are_the_same_in_another_process() -> None:
    principal = Principal(id="alice", name="alice", limits={"chats_per_minute": 3})
    scopes = (Scope("key alice", principal.limits), gateway(tokens_per_day=1000))
    claim = Claim("1", scopes, "chat", 30, 20, conversation="c", side_call=True)
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(claim), type=Claim)
    assert received == claim
    clocked = Clocked()
    for _ in range(2):
        verdict = clocked.meter.claim(received)
        sent = msgspec.msgpack.encode(verdict)
        assert msgspec.msgpack.decode(sent, type=Verdict) == verdict
        received = msgspec.structs.replace(claim, id="2", prompt_tokens=5000)
    assert not verdict.admitted


def test_the_caller_is_the_key_or_the_address() -> None:
    ids = ("key alice", "address ::1", "team web", "gateway")
    assert [Scope(one, {}).is_caller for one in ids] == [True, True, False, False]
