"""The commands print what the ledger has, for people and as JSON."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.batch import BatchWriter
from gateway.ledger.commands.command import LedgerOptions, manage_store, show_requests, show_usage
from gateway.ledger.commands.source import LedgerFile
from gateway.ledger.row import LedgerRow, LostRows
from gateway.store.migrations import STEPS
from tests.unit.ledger.support import DAY, NOON, books, row

HOUR = 3_600_000


def day_of(at: int) -> str:
    return DAY if at >= NOON - 12 * HOUR else "2026-11-29"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines: list[Any] = [
        row(request_id="req_1"),
        row(at=NOON - 2 * HOUR, ended="upstream_error", cause="upstream_error", status=502),
        row(at=NOON - 20 * HOUR, day="2026-11-29", key="bob", team=""),
        row(at=NOON - 30 * HOUR, day="2026-11-29", key="", team="", model="\x1b[31m"),
        LostRows(DAY, "alice", 3),
    ]
    with books(tmp_path / "team.db") as ledger:
        BatchWriter(ledger.connection).write([("p", one) for one in lines], {}, now=NOON)
    return tmp_path / "team.db"


Printed = pytest.CaptureFixture[str]


def usage(file: Path | None, **options: Any) -> int:
    return show_usage(LedgerFile(file, day_of), LedgerOptions(**options), now=NOON)


def requests(file: Path | None, **options: Any) -> int:
    return show_requests(LedgerFile(file, day_of), LedgerOptions(**options), now=NOON)


def test_usage_is_a_table_with_a_line_of_all(file: Path, capsys: Printed) -> None:
    assert usage(file) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *("key", "requests", "failed", "aborted", "refused", "prompt_tokens"),
        *("completion_tokens", "total_tokens"),
    ]
    assert [line.split() for line in lines[1:5]] == [
        ["alice", "2", "1", "0", "0", "50", "6", "56"],
        ["-", "1", "0", "0", "0", "25", "3", "28"],
        ["bob", "1", "0", "0", "0", "25", "3", "28"],
        ["(all)", "4", "1", "0", "0", "100", "12", "112"],
    ]
    assert lines[5] == "3 rows could not be kept; they are not in these sums."


def test_usage_as_json_has_rows_and_their_sum(file: Path, capsys: Printed) -> None:
    assert usage(file, by=("key", "day"), since="1h", as_json=True) == 0
    printed = json.loads(capsys.readouterr().out)
    (only,) = printed["rows"]
    assert {name: only[name] for name in ("key", "day", "requests", "prompt_tokens")} == {
        "key": "alice",
        "day": DAY,
        "requests": 2,
        "prompt_tokens": 50,
    }
    assert printed["totals"]["requests"] == 2
    assert (printed["by"], printed["since"], printed["lost"]) == (["key", "day"], DAY, 3)
    assert usage(file, until="2026-11-29", as_json=True) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {one["key"] for one in printed["rows"]} == {"bob", None}


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 4),
        ({"since": "1h"}, 1),
        ({"since": "180m"}, 2),
        ({"since": "9d"}, 4),
        ({"since": DAY}, 2),
        ({"until": "1h"}, 3),
        ({"key": "alice", "failed": True}, 1),
        ({"limit": 3}, 3),
    ],
    ids=str,
)
def test_requests_are_chosen_by_options(
    file: Path, capsys: Printed, options: dict[str, Any], count: int
) -> None:
    assert requests(file, as_json=True, **options) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == count


def test_a_request_as_json_says_how_it_ended(file: Path, capsys: Printed) -> None:
    assert requests(file, key="alice", as_json=True) == 0
    first, second = json.loads(capsys.readouterr().out)["rows"]
    assert (first["request_id"], first["status"], first["ended"]) == ("req_1", 200, "complete")
    assert (second["status"], second["cause"]) == (502, "upstream_error")
    assert first["at"] == "2026-11-30T12:00:00.000Z"
    assert first.keys() == {*LedgerRow.__struct_fields__} - {"source", "key_id", "team_id"}


def test_no_name_moves_the_cursor_of_a_terminal(file: Path, capsys: Printed) -> None:
    assert requests(file) == 0
    assert usage(file, by=("model",)) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[31m" in printed


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"since": "yesterday"}, "--since: 'yesterday' is neither an age such as 30m"),
        ({"until": "2026-13-01"}, "--until: '2026-13-01'"),
        ({"by": ("color",)}, "--by: 'color' is not one of key, team, model, day, route"),
        ({"by": ("key", "key")}, "--by: name each of them once"),
    ],
)
def test_a_wrong_option_is_named(
    file: Path, capsys: Printed, options: dict[str, Any], text: str
) -> None:
    assert usage(file, **options) == 2
    assert capsys.readouterr().err.startswith(text)


def test_without_a_store_or_a_file_the_reason_is_printed(tmp_path: Path, capsys: Printed) -> None:
    missing = tmp_path / "team.db"
    assert (usage(None), requests(None), manage_store(None, "status")) == (1, 1, 1)
    assert capsys.readouterr().err.count("store.url is none") == 3
    for status in (usage(missing), requests(missing), manage_store(missing, "verify")):
        assert status == 1
    assert capsys.readouterr().err.count("does not exist; a gateway makes it") == 3
    assert not missing.exists()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, capsys: Printed) -> None:
    file = tmp_path / "team.db"
    file.write_text("something else" * 100)
    assert usage(file) == 1
    assert capsys.readouterr().err == "The database cannot be read or written: SQLITE_NOTADB\n"


def managed(file: Path, capsys: Printed, action: Any, **options: Any) -> tuple[int, dict[str, Any]]:
    status = manage_store(file, action, as_json=True, **options)
    return status, json.loads(capsys.readouterr().out)


def test_the_state_of_the_database_is_shown(file: Path, capsys: Printed) -> None:
    status, shown = managed(file, capsys, "status")
    assert status == 0
    assert {name: shown[name] for name in ("requests", "open", "keys", "lost", "unread_bytes")} == {
        "requests": 4,
        "open": 0,
        "keys": 2,
        "lost": 3,
        "unread_bytes": 0,
    }
    assert manage_store(file, "status") == 0
    assert "first day: 2026-11-29\n" in capsys.readouterr().out


def test_a_database_of_another_version_is_shown_and_an_older_one_migrated(
    tmp_path: Path, capsys: Printed
) -> None:
    file = tmp_path / "team.db"
    sqlite3.connect(file).close()
    file.touch()
    status, shown = managed(file, capsys, "status")
    assert (status, shown["schema"], shown["next_step"]) == (0, 0, "fitten-gateway db migrate")
    assert usage(file) == 1
    assert "fitten-gateway db migrate" in capsys.readouterr().err
    assert managed(file, capsys, "migrate")[1]["steps"] == len(STEPS)
    assert usage(file) == 0
    capsys.readouterr()
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, 1)")
    connection.close()
    assert managed(file, capsys, "status")[0] == 1
    assert manage_store(file, "migrate") == 1
    assert "use the newer version" in capsys.readouterr().err


def test_a_copy_is_whole_and_replaces_nothing(file: Path, tmp_path: Path, capsys: Printed) -> None:
    copy = tmp_path / "copy.db"
    status, shown = managed(file, capsys, "backup", target=copy)
    assert (status, shown["backup"]) == (0, str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    assert requests(copy, as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 4
    assert manage_store(file, "backup", target=copy) == 2
    capsys.readouterr()
    assert managed(file, capsys, "backup")[1]["backup"].startswith(f"{file}.")


def test_sums_that_differ_from_their_rows_are_found(file: Path, capsys: Printed) -> None:
    assert managed(file, capsys, "verify") == (
        0,
        {"file": str(file), "ok": True, "damage": [], "differing_days": [], "lost": 3},
    )
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE usage_day SET requests = requests + 1 WHERE day = ?", (DAY,))
    connection.close()
    status, shown = managed(file, capsys, "verify")
    assert (status, shown["ok"], shown["differing_days"]) == (1, False, [DAY])
