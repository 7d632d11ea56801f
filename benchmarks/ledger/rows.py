"""Makes a database with many rows, for the benchmarks of the ledger."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

from gateway.ledger.batch import BatchWriter
from gateway.ledger.row import LedgerRow, SpoolLine, new_row_id
from gateway.ledger.service import local_day
from gateway.store.database import connect_writer
from gateway.store.migrations import migrate

_DAYS = 90
_DAY_MS = 86_400_000
_BATCH = 200


def fill(path: Path, rows: int, *, keys: int, until: int) -> None:
    """Make a database with so many rows, spread evenly over the 90 days before a time.

    until: milliseconds since 1970.
    """
    chance = random.Random(1)
    with contextlib.closing(connect_writer(path)) as connection:
        migrate(connection, path, now=until)
        writer = BatchWriter(connection)
        for first in range(0, rows, _BATCH):
            count = min(_BATCH, rows - first)
            at = until - (rows - first) * _DAYS * _DAY_MS // rows
            lines: list[tuple[str, SpoolLine]] = [
                ("bench", _row(at, chance, keys)) for _ in range(count)
            ]
            writer.write(lines, {}, now=until)


def _row(at: int, chance: random.Random, keys: int) -> LedgerRow:
    key = chance.randrange(keys)
    return LedgerRow(
        id=new_row_id(),
        at=at,
        day=local_day(at),
        request_id=f"req_{new_row_id()[:24]}",
        key=f"key-{key}",
        team=f"team-{key % 5}",
        model=chance.choice(("fitten-code", "deepseek", "qwen", "glm")),
        route=chance.choice(("chat", "completion", "fim", "infill")),
        status=200,
        finish_reason="stop",
        prompt_tokens=chance.randrange(4000),
        completion_tokens=chance.randrange(500),
        usage_source="upstream",
        first_ms=300,
        duration_ms=2000,
        tries=1,
        account="first",
        bytes=2000,
        client="OpenAI/Python",
    )
