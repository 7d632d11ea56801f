"""The arrows of docs/architecture.md: which package may import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).parents[1]
TREES = ("gateway", "middlewares", "emulator")


@dataclass(frozen=True)
class Import:
    """What one module imports from another. `always`: when it is imported itself."""

    module: str
    names: tuple[str, ...]
    always: bool


def modules() -> dict[str, Path]:
    found = {}
    for package in TREES:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


@cache
def imports(name: str) -> tuple[Import, ...]:
    """Every import of a module but those for type checkers only."""
    return tuple(_imports(name))


def _imports(name: str) -> Iterator[Import]:
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    todo: list[tuple[ast.AST, bool]] = [(tree, True)]
    while todo:
        node, always = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += [(child, always) for child in node.orelse]
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, (), always) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            assert node.module is not None
            names = tuple(alias.name for alias in node.names)
            inner = tuple(n for n in names if f"{node.module}.{n}" in MODULES)
            yield from (Import(f"{node.module}.{n}", (), always) for n in inner)
            if others := tuple(n for n in names if n not in inner):
                yield Import(node.module, others, always)
        deferred = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        todo += [(child, always and not deferred) for child in ast.iter_child_nodes(node)]


@cache
def taken(name: str) -> frozenset[str]:
    return frozenset(found.module for found in imports(name))


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def inside(*packages: str) -> list[str]:
    return [name for name in MODULES if within(name, *packages)]


# What each entry of gateway/ may import of ours, besides itself: the arrows of
# docs/architecture.md. "lazy" names may be imported only when a function is called.
ROWS: dict[str, tuple[str, ...]] = {
    # Lowest layer.
    "aiohttp_internals": (),
    "trusted_proxies": (),
    "errors": (),
    "principal": (),
    "redaction": (),
    "options": ("trusted_proxies", "redaction"),
    "limits": ("options",),
    "generation": ("errors", "principal"),
    "arguments": (),
    "terminal": ("redaction",),
    "store": ("redaction",),
    "middleware": (
        *("trusted_proxies", "generation", "keys", "options", "principal", "redaction", "store"),
    ),
    "config": ("limits", "middleware", "options", "redaction"),
    "observability": ("config", "errors", "redaction"),
    # Packages.
    "images": ("config", "errors", "generation"),
    "apis": ("errors", "generation", "images", "redaction"),
    "accounts": ("errors",),
    "ledger": ("arguments", "errors", "redaction", "store", "terminal"),
    "keys": ("errors", "limits", "principal", "redaction", "store"),
    "fitten": (
        *("accounts", "aiohttp_internals", "config", "errors", "generation", "redaction"),
        "store",
    ),
    "admission": (
        *("config", "errors", "generation", "keys", "ledger", "limits", "middleware"),
        *("observability", "principal", "redaction", "store"),
    ),
    "http": (
        *("admission", "aiohttp_internals", "apis.base", "config", "errors", "generation"),
        *("images", "middleware", "redaction"),
    ),
    "admin": (
        *("admission", "apis", "arguments", "config", "errors", "fitten", "http", "keys"),
        *("ledger", "limits", "middleware", "options", "principal", "redaction", "store"),
        *("terminal", "trusted_proxies"),
    ),
    # Composition.
    "shared_state": ("admission", "config", "fitten", "keys", "ledger", "limits", "store"),
    "app": (
        *("admission", "apis", "config", "errors", "fitten", "http", "images", "middleware"),
        *("redaction", "shared_state", "trusted_proxies"),
    ),
    "server": (
        *("admin", "admission", "aiohttp_internals", "app", "config", "errors", "fitten", "http"),
        *("keys", "ledger", "limits", "redaction", "shared_state", "store"),
    ),
    "workers": (
        *("accounts", "admin", "admission", "aiohttp_internals", "app", "config", "errors"),
        *("fitten", "generation", "http", "keys", "ledger", "limits", "observability"),
        *("redaction", "server", "shared_state", "store"),
    ),
    "demo": (
        *("config", "keys", "middleware", "observability", "options", "redaction", "server"),
        "terminal",
    ),
    "doctor": (
        *("arguments", "config", "errors", "fitten", "generation", "observability"),
        *("redaction", "store"),
    ),
    "init": ("admin", "arguments", "config", "options", "redaction", "store", "terminal"),
    "replay": ("arguments", "fitten", "generation", "redaction", "store"),
    "setup": ("arguments", "config", "fitten", "generation"),
    "cli": (
        *("admin", "arguments", "config", "demo", "doctor", "init", "ledger", "observability"),
        *("options", "redaction", "replay", "server", "setup", "store", "workers"),
    ),
    "__main__": ("cli",),
}


def entry_of(module: str) -> str:
    """The entry of gateway/ that a module belongs to."""
    return module.split(".")[1]


def test_every_entry_of_the_gateway_has_a_row() -> None:
    assert set(ROWS) == {entry_of(name) for name in inside("gateway") if name != "gateway"}


@pytest.mark.parametrize("name", [n for n in inside("gateway") if n != "gateway"])
def test_imports_follow_the_arrows(name: str) -> None:
    entry = entry_of(name)
    allowed = [f"gateway.{row}" for row in (entry, *ROWS[entry])]
    ours = {module for module in taken(name) if within(module, "gateway") and module != "gateway"}
    assert {module for module in ours if not within(module, *allowed)} == set()


@pytest.mark.parametrize("name", inside("gateway.apis", "gateway.accounts", "gateway.generation"))
def test_dialects_accounts_and_neutral_types_import_no_http_library(name: str) -> None:
    assert not [m for m in taken(name) if within(m, "aiohttp", "multidict")]


@pytest.mark.parametrize(
    "name",
    [
        f"gateway.accounts.{part}"
        for part in ("fair_queue", "health", "retry_budget", "selection_policy")
    ],
)
def test_the_rules_of_the_pool_do_no_input_or_output(name: str) -> None:
    forbidden = ("asyncio", "time", "random", "socket", "pathlib", "os", "structlog")
    assert [module for module in taken(name) if within(module, *forbidden)] == []


@pytest.mark.parametrize("name", inside("gateway.limits"))
def test_limits_read_no_clock_and_only_their_line_waits(name: str) -> None:
    waits = () if name == "gateway.limits.queue" else ("asyncio",)
    forbidden = ("time", "random", "socket", "pathlib", "os", "structlog", "aiohttp", *waits)
    assert [module for module in taken(name) if within(module, *forbidden)] == []


PURE = (
    "gateway.fitten.chat.decoder",
    "gateway.fitten.chat.prompt",
    "gateway.fitten.completion.document",
    "gateway.fitten.http.response_parser",
    *inside("gateway.fitten.tools"),
)


@pytest.mark.parametrize("name", PURE)
def test_protocol_code_does_no_input_or_output(name: str) -> None:
    assert name in MODULES
    forbidden = ("aiohttp", "asyncio", "socket", "pathlib", "os", "structlog", "logging")
    assert [module for module in taken(name) if within(module, *forbidden)] == []


@pytest.mark.parametrize("name", [n for n in MODULES if not within(n, "gateway.workers")])
def test_one_process_imports_nothing_of_the_workers(name: str) -> None:
    workers = {f.module for f in imports(name) if f.always and within(f.module, "gateway.workers")}
    assert workers == set()


@pytest.mark.parametrize("name", inside("gateway.workers.rpc"))
def test_the_rpc_of_the_workers_knows_no_service(name: str) -> None:
    ours = {module for module in taken(name) if within(module, "gateway")}
    allowed = ("gateway.errors", "gateway.workers.rpc")
    assert [module for module in ours if not within(module, *allowed)] == []


@pytest.mark.parametrize("name", inside("middlewares"))
def test_middlewares_import_the_public_names_only(name: str) -> None:
    for found in imports(name):
        if within(found.module, *TREES):
            assert found.module == "gateway"
            assert set(found.names) <= set(gateway.__all__)


@pytest.mark.parametrize("name", inside("gateway"))
def test_the_gateway_imports_no_middleware_and_only_the_demo_the_emulator(name: str) -> None:
    assert not [module for module in taken(name) if within(module, "middlewares")]
    if name != "gateway.demo":
        assert not [module for module in taken(name) if within(module, "emulator")]


@pytest.mark.parametrize("name", inside("emulator"))
def test_the_emulator_imports_nothing_of_the_gateway(name: str) -> None:
    assert not [module for module in taken(name) if within(module, "gateway", "middlewares")]


def test_of_the_chaos_runs_only_the_middleware_imports_the_gateway() -> None:
    users = set()
    for file in (ROOT / "chaos").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and within(node.module or "", *TREES):
                users.add(file.stem)
    assert users == {"middleware"}


@pytest.mark.parametrize("name", MODULES)
def test_nothing_that_serves_imports_tests(name: str) -> None:
    assert not [module for module in taken(name) if within(module, "tests", "pytest", "hypothesis")]


def entries(graph: dict[str, set[str]], folder: str) -> dict[str, set[str]]:
    """The entries of a folder, packages as one each, and which of them each imports."""
    depth = folder.count(".") + 1

    def entry(module: str) -> str:
        return ".".join(module.split(".")[: depth + 1])

    found: dict[str, set[str]] = {}
    for name, needed in graph.items():
        if name.startswith(f"{folder}."):
            others = {entry(n) for n in needed if n.startswith(f"{folder}.")} - {entry(name)}
            found.setdefault(entry(name), set()).update(others)
    return found


def cycle(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is left of a graph when everything that is in no cycle is taken away."""
    while True:
        leaves = {name for name, needed in graph.items() if not needed & set(graph)}
        if not leaves:
            return {name: needed & set(graph) for name, needed in graph.items()}
        graph = {name: needed for name, needed in graph.items() if name not in leaves}


def test_no_cycle_between_modules() -> None:
    graph = {
        name: {f.module for f in imports(name) if f.always and f.module in MODULES} - {name}
        for name in MODULES
    }
    assert cycle(graph) == {}


PACKAGES = [name for name, file in MODULES.items() if file.name == "__init__.py"]


@pytest.mark.parametrize("folder", PACKAGES)
def test_no_cycle_between_the_entries_of_a_folder(folder: str) -> None:
    """Between modules and packages that stand in one folder, deferred imports included."""
    graph = {name: {module for module in taken(name) if module in MODULES} for name in MODULES}
    assert cycle(entries(graph, folder)) == {}


def test_no_folder_has_more_than_fifteen_modules() -> None:
    files = [
        file
        for package in (*TREES, "benchmarks", "chaos")
        for file in (ROOT / package).rglob("*.py")
    ]
    sizes = Counter(file.parent for file in files if not file.name.startswith("__"))
    assert {folder: size for folder, size in sizes.items() if size > 15} == {}


SCRIPT = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m.partition(".")[0] in {trees!r}]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""


def test_each_module_imports_alone_and_quietly() -> None:
    names = [name for name in MODULES if not name.endswith(".__main__")]
    result = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            SCRIPT.replace("{trees!r}", repr(TREES)),
            *names,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_every_public_name_can_be_imported() -> None:
    for name in gateway.__all__:
        assert getattr(gateway, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = gateway.nothing_like_it


@pytest.mark.parametrize("package", [name for name in PACKAGES if name.startswith("gateway.")])
def test_modules_that_a_package_names_exist(package: str) -> None:
    """A word in backticks in a package's docstring is a module or a package in it."""
    docstring = ast.get_docstring(ast.parse(MODULES[package].read_text("utf-8"))) or ""
    named = re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)`", docstring)
    assert [name for name in named if f"{package}.{name}" not in MODULES] == []


@pytest.mark.parametrize("name", inside("gateway", "middlewares"))
def test_there_is_no_branch_for_another_system_than_posix(name: str) -> None:
    """The service needs signals, Unix sockets and uvloop: such a branch could never run."""
    text = MODULES[name].read_text("utf-8")
    assert re.findall(r"win32|os\.name|platform\.system", text) == []
