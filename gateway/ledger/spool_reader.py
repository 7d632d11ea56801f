"""Reads the lines of all processes' spools, from where they were read to the last time."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

from gateway.ledger.spool_files import SpoolFile, lock_name, spool_files

_CHUNK: Final = 128 * 1024  # bytes that are read at once
_LONGEST: Final = 64 * 1024  # bytes without a line end, after which they are no line of ours


class RawLine(msgspec.Struct, eq=False, gc=False):
    """Holds a line of a spool. `end`: the position behind it in its file."""

    process: str
    file: str
    end: int
    raw: bytes


@dataclass(slots=True)
class ReadLines:
    """Holds what was read at once.

    finished: files that have nothing after these lines, and get no more.
    idle: processes of which every line is read now; they may still live.
    more: whether there may be more lines at once.
    """

    lines: list[RawLine] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    more: bool = False


class SpoolReader:
    """Reads lines in the order of each process.

    positions: up to where each file was read, as the database has it.
    """

    def __init__(self, folder: Path, positions: dict[str, int]) -> None:
        self._folder = folder
        self._positions = positions
        self._turn = 0

    def read(self, most: int) -> ReadLines:
        """Return so many lines at most, without moving the positions. Raises OSError."""
        found = ReadLines()
        files = groupby(spool_files(self._folder), lambda file: file.process)
        processes = [(process, list(group)) for process, group in files]
        self._turn += 1
        first = self._turn % len(processes) if processes else 0
        for process, group in processes[first:] + processes[:first]:
            if len(found.lines) >= most:
                found.more = True
                break
            self._read_process(process, group, most, found)
        return found

    def moved(self, positions: dict[str, int]) -> None:
        """Remember up to where files were read, after it is stored."""
        self._positions.update(positions)

    def cut_end(self, process: str) -> bytes:
        """Return what follows the last line of a process that has ended. Raises OSError."""
        files = self._files_of(process)
        if not files:
            return b""
        return self._content(files[-1].name, self._positions.get(files[-1].name, 0))

    def end_of(self, process: str) -> tuple[str, int]:
        """Return the last file of a process, and its size. Raises OSError."""
        last = self._files_of(process)[-1]
        return last.name, last.size

    def has_lines(self, process: str) -> bool:
        """Return whether a process has written more lines. Raises OSError."""
        found = ReadLines()
        self._read_process(process, self._files_of(process), 1, found)
        return bool(found.lines)

    def remove(self, names: list[str]) -> None:
        """Remove files that are read. Raises OSError."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def remove_process(self, process: str) -> list[str]:
        """Remove all files of a process that has ended; return their names. Raises OSError."""
        names = [file.name for file in self._files_of(process)]
        self.remove([*names, lock_name(process)])
        return names

    def forget(self, names: list[str]) -> None:
        """Forget the positions of files that are gone."""
        for name in names:
            self._positions.pop(name, None)

    def forgettable(self) -> list[str]:
        """Return the files that have a position and do not exist any more. Raises OSError."""
        present = {file.name for file in spool_files(self._folder)}
        return [name for name in self._positions if name not in present]

    def unread(self) -> int:
        """Return how many bytes are not read yet. Raises OSError."""
        return sum(f.size - self._positions.get(f.name, 0) for f in spool_files(self._folder))

    def _files_of(self, process: str) -> list[SpoolFile]:
        return [file for file in spool_files(self._folder) if file.process == process]

    def _read_process(
        self, process: str, files: list[SpoolFile], most: int, found: ReadLines
    ) -> None:
        for index, file in enumerate(files):
            position = self._positions.get(file.name, 0)
            last = index + 1 == len(files)
            if last and file.size <= position:  # another one may have grown since it was listed
                continue
            name = file.name
            while len(found.lines) < most:
                raws, end = self._lines(name, position, most - len(found.lines))
                if not raws:
                    break
                for raw in raws:
                    position += len(raw) + 1
                    found.lines.append(RawLine(process, name, position, raw))
                # What has no line end is as long as it is.
                found.lines[-1].end = position = end
            if len(found.lines) >= most:
                found.more = True
                return
            # The process writes to its last file only. A rest without a line end in another one
            # is what the disk did not take, which the process has counted.
            if not last:
                found.finished.append(file.name)
        found.idle.append(process)

    def _lines(self, name: str, position: int, most: int) -> tuple[list[bytes], int]:
        """Return lines without their ends, so many at most, and the position behind them."""
        data = self._content(name, position)
        end = data.rfind(b"\n") + 1
        if not end:
            return ([], position) if len(data) < _LONGEST else ([data], position + len(data))
        raws = data[: end - 1].split(b"\n", most)[:most]
        return raws, position + sum(map(len, raws)) + len(raws)

    def _content(self, name: str, position: int) -> bytes:
        descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, _CHUNK, position)
        finally:
            os.close(descriptor)
