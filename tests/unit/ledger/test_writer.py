"""Lines of every process become rows once, whatever is broken, locked or gone on the way."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from gateway.ledger.row import decode_line, encode_line
from gateway.ledger.spool_files import spool_files
from gateway.ledger.spool_reader import ReadLines, SpoolReader
from tests.unit.ledger.support import DAY, began, books, held_by_another, row


def test_lines_become_rows_and_are_not_read_again(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        for _ in range(450):
            first = began()
            spool.began(first)
            spool.ended(row(id=first.id))
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 450
        assert ledger.one("SELECT count(*) FROM began") == 0
        ledger.mover = ledger.new_transfer()  # as after a restart of the writer
        ledger.transfer()
        ledger.balance()
        assert ledger.mover.unread() == 0
        spool.close()


def test_a_transaction_has_at_most_200_rows_and_the_position_after_them(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        for _ in range(450):
            spool.ended(row())
        statements: list[str] = []
        ledger.connection.set_trace_callback(statements.append)
        while ledger.mover.transfer():
            ledger.balance()
            done = ledger.one("SELECT read_to FROM spool_position")
            lines = (ledger.folder / spool_files(ledger.folder)[0].name).read_bytes()
            assert lines[:done].count(b"\n") == ledger.one("SELECT count(*) FROM request")
        ledger.connection.set_trace_callback(None)
        rows = [0]
        for statement in statements:
            if statement.startswith("INSERT INTO request "):
                rows[-1] += statement.count("), (") + 1
            elif statement == "COMMIT":
                rows.append(0)
        assert [count for count in rows if count] == [200, 200, 50]
        spool.close()


def test_a_spool_whose_position_is_lost_is_replayed_without_effect(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        for _ in range(300):
            spool.ended(row())
        ledger.transfer()
        ledger.connection.execute("DELETE FROM spool_position")
        ledger.mover = ledger.new_transfer()
        ledger.transfer()
        assert ledger.one("SELECT requests FROM usage_day") == 300
        ledger.balance()
        spool.close()


def test_files_that_are_read_are_removed_but_the_last_of_a_living_process(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool(file_size=2000)
        for _ in range(30):
            spool.ended(row())
        assert len(spool_files(ledger.folder)) > 2
        ledger.transfer()
        (last,) = spool_files(ledger.folder)
        assert ledger.select("SELECT file, read_to FROM spool_position") == [(last.name, last.size)]
        spool.ended(row())
        ledger.transfer()
        spool.close()
        ledger.transfer()
        assert spool_files(ledger.folder) == []
        assert [file.name for file in ledger.folder.iterdir()] == []
        assert ledger.select("SELECT * FROM spool_position") == []
        assert ledger.one("SELECT count(*) FROM request") == 31


def test_requests_that_a_process_left_open_are_rows_once_it_has_ended(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        left = [began(prompt_tokens=7) for _ in range(3)]
        for one in left:
            spool.began(one)
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 0
        spool.ended(row(id=left[0].id))
        spool.close()  # the process is gone: its lock is released
        ledger.transfer()
        assert ledger.select(
            "SELECT ended, status, prompt_tokens, count(*) FROM request GROUP BY 1, 2, 3 ORDER BY 1"
        ) == [("complete", 200, 25, 1), ("crashed", None, 7, 2)]
        assert ledger.one("SELECT count(*) FROM began") == 0
        ledger.balance()


def test_without_rows_a_crashed_request_counts_once(tmp_path: Path) -> None:
    with books(tmp_path / "team.db", detail="days") as ledger:
        spool = ledger.spool()
        spool.began(began())
        spool.ended(row())
        ledger.transfer()
        spool.close()
        ledger.transfer()
        ledger.mover = ledger.new_transfer()
        ledger.transfer()
        assert ledger.select("SELECT sum(requests), sum(failed) FROM usage_day") == [(2, 1)]


def test_what_a_process_writes_last_is_read_although_it_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files were read, then it writes a line and is gone when its lock is looked at."""
    with books(tmp_path / "team.db") as ledger:
        spool, left = ledger.spool(), [row(), row()]
        spool.ended(left.pop())
        read = SpoolReader.read

        def read_before_the_end(reader: SpoolReader, most: int) -> ReadLines:
            found = read(reader, most)
            if left:
                spool.ended(left.pop())
                spool.close()
            return found

        monkeypatch.setattr(SpoolReader, "read", read_before_the_end)
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 2
        assert list(ledger.folder.iterdir()) == []


def append(folder: Path, raw: bytes) -> None:
    """Write to the end of the first file of a spool."""
    with (folder / spool_files(folder)[0].name).open("ab") as file:
        file.write(raw)


@pytest.mark.parametrize(
    "bad",
    [b"no JSON", b'{"line":"later"}', b'{"line":"ended"}', b"\x00" * 5, b"\xff", b"[" * 9999, b""],
)
def test_a_line_that_cannot_be_read_is_kept_aside_and_counted(tmp_path: Path, bad: bytes) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        spool.ended(row())
        append(ledger.folder, bad + b"\n")
        spool.ended(row())
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 2
        assert ledger.select("SELECT * FROM lost") == [(DAY, "", 1)]
        assert (ledger.folder / "bad" / "lines.jsonl").read_bytes() == bad + b"\n"
        spool.close()


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        (0, {"prompt_tokens": -1}),
        (77, {"status": 2000}),
        (199, {"bytes": 2**70}),
        (120, {"day": "today"}),
    ],
)
def test_a_row_that_the_database_refuses_is_lost_alone(
    tmp_path: Path, where: int, fields: dict[str, object]
) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        first = began()
        spool.began(first)
        poison = row(id=first.id, **fields)
        for index in range(200):
            spool.ended(poison if index == where else row())
        ledger.transfer()
        spool.close()
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 199
        assert ledger.select("SELECT key, count FROM lost") == [("alice", 1)]
        assert decode_line((ledger.folder / "bad" / "lines.jsonl").read_bytes()) == poison
        ledger.balance()


def test_an_open_request_that_the_database_refuses_is_lost_alone(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        for one in (began(), began(at=-1), began()):
            spool.began(one)
        spool.close()
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request WHERE ended = 'crashed'") == 2
        assert ledger.select("SELECT * FROM lost") == [(DAY, "alice", 1)]
        assert list(ledger.folder.glob("*.jsonl")) == []


@pytest.mark.parametrize(
    ("was_begun", "lost"), [(False, 1), (True, 0)], ids=["a refused request", "an open request"]
)
def test_the_cut_line_of_a_process_that_was_killed_counts_once(
    tmp_path: Path, was_begun: bool, lost: int
) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        first = began()
        spool.began(first if was_begun else began())
        ledger.transfer()
        append(ledger.folder, encode_line(row(id=first.id))[:-40])
        spool.close()
        ledger.transfer()
        assert ledger.one("SELECT coalesce(sum(count), 0) FROM lost") == lost
        assert ledger.one("SELECT count(*) FROM request WHERE ended = 'crashed'") == 1
        assert list(ledger.folder.glob("*.jsonl")) == []


def test_the_last_line_of_a_living_process_waits_for_its_end(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        whole = encode_line(row()) + b"\n"
        append(ledger.folder, whole[:50])
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 0
        append(ledger.folder, whole[50:])
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 1
        spool.close()


def test_nothing_moves_while_another_holds_the_lock_and_all_of_it_afterwards(
    tmp_path: Path,
) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        for _ in range(250):
            spool.ended(row())
        with contextlib.closing(held_by_another(ledger.path)) as other:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                ledger.transfer()
            spool.ended(row())  # the path of a request does not see it
            other.execute("ROLLBACK")
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 251
        ledger.balance()
        spool.close()


def test_a_full_disk_of_the_database_loses_nothing(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        pages = ledger.one("PRAGMA page_count")
        ledger.connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        spool = ledger.spool()
        for _ in range(600):
            spool.ended(row())
        with pytest.raises(sqlite3.OperationalError, match="full"):
            ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") < 600
        ledger.balance()
        ledger.connection.execute("PRAGMA max_page_count = 100000")
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 600
        ledger.balance()
        spool.close()


def test_the_lines_of_one_process_cannot_keep_out_those_of_another(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spools = [ledger.spool() for _ in range(3)]
        for _ in range(700):
            spools[0].ended(row(key="loud"))
            spools[1].ended(row(key="loud"))
        spools[2].ended(row(key="quiet"))
        for _ in range(3):
            ledger.mover.transfer()
        assert ledger.one("SELECT count(*) FROM key WHERE name = 'quiet'") == 1
        for spool in spools:
            spool.close()


def test_a_folder_for_bad_lines_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        (ledger.folder / "bad").write_text("a file")
        spool = ledger.spool()
        append(ledger.folder, b"no JSON\n")
        spool.ended(row())
        ledger.transfer()
        assert ledger.one("SELECT count(*) FROM request") == 1
        assert ledger.one("SELECT sum(count) FROM lost") == 1
        spool.close()


def test_locks_and_positions_that_nothing_uses_are_removed(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        spool.ended(row())
        ledger.transfer()
        ledger.connection.execute("INSERT INTO spool_position VALUES ('gone.000001.jsonl', 5)")
        old, young = ledger.folder / "old-1.lock", ledger.folder / "young-1.lock"
        old.touch()
        young.touch()
        os.utime(old, (1, 1))
        ledger.mover = ledger.new_transfer()
        ledger.mover.tidy()
        assert ledger.one("SELECT count(*) FROM spool_position") == 1
        assert (old.exists(), young.exists()) == (False, True)
        spool.close()
