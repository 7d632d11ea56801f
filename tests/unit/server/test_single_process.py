"""What a process does for its memory before it serves."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# Says whether the C library maps a large block of its own, before and after. It is larger than
# any that an import frees, which raises the threshold too.
SCRIPT = """
import ctypes
from gateway.server.single_process import tune_memory

libc = ctypes.CDLL(None)

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p

def mapped():
    before = libc.mallinfo2().hblks
    libc.malloc(ctypes.c_size_t(1000 * 1024))
    return libc.mallinfo2().hblks - before

print(mapped())
tune_memory()
print(mapped())
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc"
)
def test_large_blocks_such_as_tls_reads_are_reused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "0"]
