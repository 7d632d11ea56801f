"""The zone in which a day begins, unless the configuration names one."""

from __future__ import annotations

import shutil
import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.config.time_zone import TimeZoneName, system_zone

HERE = datetime(2026, 7, 1, 12)
DATABASE = next(path for path in map(Path, zoneinfo.TZPATH) if (path / "Asia/Shanghai").exists())


@pytest.fixture
def taipei(tmp_path: Path) -> Path:
    link = tmp_path / "localtime"
    link.symlink_to(DATABASE / "Asia/Taipei")
    return link


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Asia/Kolkata", "Asia/Kolkata"),
        (":Asia/Kolkata", "Asia/Kolkata"),
        (":/usr/share/zoneinfo/Asia/Kolkata", "Asia/Kolkata"),
        ("", "UTC"),
        (None, "Asia/Taipei"),
    ],
)
def test_the_variable_comes_before_the_machine(
    taipei: Path, written: str | None, name: str
) -> None:
    environ = {} if written is None else {"TZ": written}
    assert str(system_zone(environ, localtime=taipei)) == name


@pytest.fixture
def posix_rule(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CST-8")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("posix_rule")
def test_a_rule_that_only_the_c_library_reads_gives_its_offset() -> None:
    assert HERE.replace(tzinfo=system_zone()).utcoffset() == timedelta(hours=8)


def test_a_copied_zone_file_is_read(tmp_path: Path) -> None:
    copied = tmp_path / "localtime"
    shutil.copyfile(DATABASE / "Asia/Kathmandu", copied)
    found = HERE.replace(tzinfo=system_zone({}, localtime=copied))
    assert found.utcoffset() == timedelta(hours=5, minutes=45)


@pytest.mark.parametrize("content", [None, b"", b"no zone"])
def test_without_a_readable_file_it_is_utc(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "localtime"
    if content is not None:
        file.write_bytes(content)
    assert system_zone({}, localtime=file) is UTC


def test_a_machine_without_time_zones_is_told_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    assert TimeZoneName().fault("Asia/Shanghai") is None
    assert "install tzdata" in str(TimeZoneName().fault("Asia/Nowhere"))
