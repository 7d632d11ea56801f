"""Runs a command under the restrictions of fitten-gateway.service, without systemd.

    python deploy/confined.py [--writable FOLDER] COMMAND [ARGUMENT...]

It imitates what is possible from outside systemd: system calls and address families (seccomp, by
the lists of systemd-analyze). No memory is both writable and executable; there are no new
privileges and no capabilities. Resource limits and the umask are set. For root the file system is
read-only, except for /tmp and /dev/shm, which are private. What this machine lacks is reported and
left out.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

UNIT = Path(__file__).with_name("fitten-gateway.service")

_CLONE_NEWNS = 0x20000
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 24, 38, 65
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_MS_NOSUID, _MS_NODEV = 2, 4
_ALLOW, _EPERM = 0x7FFF0000, 0x00050000 | 1
_EQUAL = 4  # SCMP_CMP_EQ
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}

_libc = ctypes.CDLL(None, use_errno=True)


class Comparison(ctypes.Structure):
    """Represents libseccomp's scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def main() -> None:
    command, writable = sys.argv[1:], None
    if command[:1] == ["--writable"]:
        writable, command = command[1], command[2:]
    if not command:
        sys.exit(f"usage: {sys.argv[0]} [--writable FOLDER] COMMAND [ARGUMENT...]")
    settings = unit_settings()
    calls = allowed_calls(settings["SystemCallFilter"])
    os.umask(int(settings["UMask"][0], 8))
    files = min(int(settings["LimitNOFILE"][0]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        read_only_files(writable)
        drop_capabilities()
    else:
        missing("a read-only file system and no capabilities: only root can arrange that")
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if not prctl(_PR_SET_MDWE, 1):
        missing("MemoryDenyWriteExecute: the kernel is older than 6.3")
    families = settings["RestrictAddressFamilies"][0].split()
    filter_calls(calls, [_FAMILIES[name] for name in families])
    os.environ["CONFINED"] = "1"
    os.execvp(command[0], command)


def unit_settings() -> dict[str, list[str]]:
    """Return the unit's settings; most may be given more than once."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def allowed_calls(filters: list[str]) -> set[str]:
    """Return the system calls that SystemCallFilter= lines leave: sets, then ~sets."""
    if shutil.which("systemd-analyze") is None:
        missing("SystemCallFilter: there is no systemd-analyze")
        return set()
    allowed: set[str] = set()
    for line in filters:
        names = {name for word in line.lstrip("~").split() for name in members(word)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def members(name: str) -> set[str]:
    """Return the system calls of a set such as @system-service, and of the sets in it."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    )
    words = {line.strip() for line in listed.stdout.splitlines()[1:]}
    inner = {word for word in words if word and not word.startswith("#")}
    return {call for word in inner for call in members(word)}


def filter_calls(calls: set[str], families: list[int]) -> None:
    """Allow only these system calls, and sockets of these families."""
    if not calls:
        return
    try:
        lib = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        missing("SystemCallFilter: there is no libseccomp")
        return
    lib.seccomp_init.restype = ctypes.c_void_p
    rule = lib.seccomp_rule_add_array
    rule.argtypes = (
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
        ctypes.POINTER(Comparison),
    )
    context = lib.seccomp_init(_EPERM)
    for name in calls - {"socket"}:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # negative: not on this architecture
            check(rule(context, _ALLOW, number, 0, None), name)
    socket = lib.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        comparison = Comparison(0, _EQUAL, family, 0)
        check(rule(context, _ALLOW, socket, 1, ctypes.byref(comparison)), "socket")
    check(lib.seccomp_load(ctypes.c_void_p(context)), "seccomp_load")


def read_only_files(writable: str | None) -> None:
    """Enter a mount namespace in which only /tmp, /dev/shm and one folder are writable.

    What is not on a disk stays as it is.
    """
    if _libc.unshare(_CLONE_NEWNS):
        missing("a read-only file system: a mount namespace is not allowed here")
        return
    kept = {writable: 0} if writable else {}
    checkout = str(UNIT.parent.parent)
    if checkout.startswith("/tmp/"):
        kept = {checkout: _MS_RDONLY, **kept}  # what is to run must not be covered
    folders = {point: os.open(point, os.O_PATH) for point in kept}
    mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        point = line.split()[1].encode().decode("unicode_escape")
        if not point.startswith(("/proc", "/sys", "/dev")):
            mount(None, point, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
    for private in ("/tmp", "/dev/shm"):
        mount("tmpfs", private, "tmpfs", _MS_NOSUID | _MS_NODEV)
    for point, access in kept.items():
        os.makedirs(point, exist_ok=True)
        mount(f"/proc/self/fd/{folders[point]}", point, None, _MS_BIND)
        mount(None, point, None, _MS_REMOUNT | _MS_BIND | access)


def drop_capabilities() -> None:
    """Drop all capabilities, now and after any exec."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        prctl(_PR_CAPBSET_DROP, capability)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    done = _libc.mount(
        source and source.encode(), target.encode(), kind and kind.encode(), flags, None
    )
    if done:
        missing(f"{target} as it should be mounted: {os.strerror(ctypes.get_errno())}")


def prctl(option: int, value: int) -> bool:
    return int(_libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)) == 0


def check(result: int, what: str) -> None:
    if result:
        sys.exit(f"confined: {what} failed: {result}")


def missing(what: str) -> None:
    print(f"confined: left out: {what}", file=sys.stderr)


if __name__ == "__main__":
    main()
