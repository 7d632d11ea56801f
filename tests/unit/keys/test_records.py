"""Records of keys travel between processes."""

from __future__ import annotations

import msgspec

from gateway.keys.records import GrantRecord, KeyRecord, KeyTable, SecretRecord, TeamRecord


def test_a_table_of_keys_can_be_sent_to_another_process() -> None:
    secret = SecretRecord(b"\x00" * 32, "abcd", 5, 9)
    key = KeyRecord(
        id="a" * 12,
        kind="api",
        name="alice",
        version=2,
        created_at=5,
        created_by="local:root",
        models=("fitten-code",),
        limits={"tokens_per_day": 7},
        secrets=(secret,),
    )
    team = TeamRecord(id="b" * 12, name="web", version=1, created_at=5)
    grant = GrantRecord(
        id="c" * 12,
        scope="key",
        scope_id=key.id,
        period="2026-11-29",
        limit="tokens_per_day",
        amount=3,
        at=6,
        by="root",
    )
    table = KeyTable(4, (key,), (team,), (grant,))
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(table), type=KeyTable)
    assert msgspec.to_builtins(sent) == msgspec.to_builtins(table)
