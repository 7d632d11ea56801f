"""Opens the SQLite database: for the one writer, or to read only."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from gateway.redaction import os_error_text
from gateway.store.owners import give_to_owner, make_folder

_BUSY = 5.0  # seconds that a statement waits for another writer

# SQLite's locks and shared memory do not work there, and the file would be damaged.
_NETWORK = (
    *("9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.grpcfuse", "fuse.osxfs"),
    *("fuse.sshfs", "lustre", "nfs", "nfs4", "smb2", "smb3", "smbfs"),
)


# What waiting does not change: a wrong path, or missing rights.
_LASTING = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO),
)
_LASTING_NAMES = ("SQLITE_NOTADB", "SQLITE_READONLY")


class StoreUnusable(Exception):
    """Reports why the database cannot be used; the text is for the operator."""


def connect_writer(path: Path, *, busy: float = _BUSY) -> sqlite3.Connection:
    """Open the database to write, and create it with mode 0600 if there is none.

    Transactions are begun by hand, with BEGIN IMMEDIATE: one that reads first and then writes
    can fail at once, whatever the time limit. Raises StoreUnusable, OSError, sqlite3.Error.
    """
    make_folder(path.parent)
    if kind := network_file_system(path.parent):
        raise StoreUnusable(f"{path} is on {kind}, where SQLite's locks do not work")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        give_to_owner(descriptor, path.parent)  # SQLite gives the files beside it the same owner
    finally:
        os.close(descriptor)
    connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, *, busy: float = _BUSY) -> sqlite3.Connection:
    """Open the database to read only. Raises FileNotFoundError, sqlite3.Error."""
    os.stat(path)
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=ro",
        uri=True,
        timeout=busy,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    return connection


def connect_immutable(path: Path) -> sqlite3.Connection:
    """Open the file alone, without what is in the log beside it: nothing at all is written."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True)


def is_lasting(error: OSError | sqlite3.Error) -> bool:
    """Return whether a fault stays until somebody changes the settings or the files."""
    if isinstance(error, OSError):
        return error.errno in _LASTING
    return getattr(error, "sqlite_errorname", "") in _LASTING_NAMES


def store_error_text(error: Exception) -> str:
    """Return why the database failed: SQLite's own texts have no data of requests."""
    name = getattr(error, "sqlite_errorname", None)
    return str(name) if name else os_error_text(error)


def network_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of file system of a folder if files there are another machine's."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:  # another system than Linux
        return None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        kind = rest.split(" ", 1)[0]
        if fields.split(" ")[2:3] == [wanted] and kind in _NETWORK:
            return kind
    return None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold a write transaction; commit it at the end, or undo all of it. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
