"""Describes the machine and software of a measurement, without paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sysconfig
from collections.abc import Iterable
from pathlib import Path


def build(config_args: str) -> str:
    """Say how an interpreter was optimised, from the arguments of its configure script."""
    words = config_args.replace("'", " ").split()
    pgo = "PGO" if "--enable-optimizations" in words else "no PGO"
    links = [word for word in words if word.split("=")[0] == "--with-lto"]
    lto = "LTO" if links and not links[-1].endswith("=no") else "no LTO"
    return f"{pgo}, {lto}"


def event_loop(pid: int) -> str:
    """Return the name of a process's event loop, by the libraries it has loaded."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return "unknown event loop"
    return "uvloop" if "/uvloop/" in maps else "asyncio"


def line(loops: Iterable[str]) -> str:
    """Describe interpreter, kernel, cores, event loops and packages in one line."""
    optimised = build(sysconfig.get_config_var("CONFIG_ARGS") or "")
    packages = [f"{name} {_version(name)}" for name in ("aiohttp", "uvloop", "msgspec")]
    facts = [
        f"Python {platform.python_version()} ({platform.python_compiler()}, {optimised})",
        f"kernel {os.uname().release}",
        f"{len(os.sched_getaffinity(0))} cores",
        f"event loop {' and '.join(dict.fromkeys(loops))}",
        *packages,
    ]
    return ", ".join(facts)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
