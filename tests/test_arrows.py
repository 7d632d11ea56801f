"""The house's arrows: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).parents[1]
ROOMS = ("gateway", "middlewares", "emulator")


@dataclass(frozen=True)
class Import:
    """What one module takes from another. `always`: as soon as it is imported itself."""

    module: str
    names: tuple[str, ...]
    always: bool


def modules() -> dict[str, Path]:
    found = {}
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports(name: str) -> Iterator[Import]:
    """Every import of a module but those for type checkers only."""
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


def taken(name: str) -> set[str]:
    return {found.module for found in imports(name)}


def within(module: str, *rooms: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def inside(*rooms: str) -> list[str]:
    return [name for name in MODULES if within(name, *rooms)]


def test_the_rooms_are_there() -> None:
    assert {"gateway.app", "gateway.fitten.wire", "middlewares.cors", "emulator.server"} <= set(
        MODULES
    )


@pytest.mark.parametrize("name", inside("gateway.apis"))
def test_apis_know_neither_aiohttp_nor_fitten(name: str) -> None:
    assert not [m for m in taken(name) if within(m, "aiohttp", "gateway.fitten", "multidict")]
    allowed = (
        "gateway.apis",
        "gateway.generation",
        "gateway.errors",
        "gateway.jsonbody",
        "gateway.images",
    )
    ours = [module for module in taken(name) if within(module, "gateway")]
    assert [module for module in ours if not within(module, *allowed)] == []


@pytest.mark.parametrize("name", inside("gateway.fitten"))
def test_fitten_knows_no_api_and_nothing_above_it(name: str) -> None:
    allowed = (
        "gateway.fitten",
        "gateway.accounts",
        "gateway.generation",
        "gateway.errors",
        "gateway.config",
        "gateway.cutoff",
        "gateway.tokens",
    )
    ours = [module for module in taken(name) if within(module, *ROOMS) and module != "gateway"]
    assert [module for module in ours if not within(module, *allowed)] == []


@pytest.mark.parametrize("name", inside("gateway.accounts"))
def test_accounts_know_nothing_of_fitten(name: str) -> None:
    assert not [m for m in taken(name) if within(m, "aiohttp", "gateway.fitten", "gateway.apis")]
    ours = [module for module in taken(name) if within(module, *ROOMS)]
    assert [m for m in ours if not within(m, "gateway.accounts", "gateway.errors")] == []


@pytest.mark.parametrize(
    "name", [f"gateway.accounts.{part}" for part in ("health", "queue", "selection", "budget")]
)
def test_the_rules_of_the_pool_do_no_input_or_output(name: str) -> None:
    forbidden = ("asyncio", "time", "random", "socket", "pathlib", "os", "structlog")
    assert [module for module in taken(name) if within(module, *forbidden)] == []


PURE = (
    "fim",
    "prompt",
    "response",
    "wire",
    *(f"tools.{name}" for name in ("tool_prompt", "parser", "cutoff", "blocks", "notations")),
    *(f"tools.{name}" for name in ("markup", "source", "schema")),
)


@pytest.mark.parametrize("name", [f"gateway.fitten.{n}" for n in PURE])
def test_protocol_code_does_no_input_or_output(name: str) -> None:
    forbidden = ("aiohttp", "asyncio", "socket", "pathlib", "os", "structlog", "logging")
    assert [module for module in taken(name) if within(module, *forbidden)] == []


@pytest.mark.parametrize("name", ["gateway.generation", "gateway.errors"])
def test_the_hub_knows_nothing_of_ours(name: str) -> None:
    assert [module for module in taken(name) if within(module, *ROOMS)] == []


@pytest.mark.parametrize("name", ["gateway.handler", "gateway.boundary", "gateway.sse"])
def test_the_handler_knows_only_what_all_apis_have_in_common(name: str) -> None:
    apis = {module for module in taken(name) if within(module, "gateway.apis")}
    assert apis <= {"gateway.apis.dialect"}
    assert not [module for module in taken(name) if within(module, "gateway.fitten")]


@pytest.mark.parametrize(
    ("room", "composers"),
    [
        ("gateway.apis.chat_completions", {"gateway.app"}),
        # Whoever keeps the accounts composes too: this process, or the parent of workers.
        ("gateway.fitten", {"gateway.app", "gateway.shared", *inside("gateway.workers")}),
    ],
)
def test_only_composition_roots_know_every_room(room: str, composers: set[str]) -> None:
    users = {name for name in MODULES if any(within(m, room) for m in taken(name))}
    house = room.rpartition(".")[0] if room.count(".") > 1 else room  # its neighbours may
    assert {user for user in users if not within(user, house)} <= composers
    assert "gateway.app" in users


@pytest.mark.parametrize("name", [n for n in MODULES if not within(n, "gateway.workers")])
def test_one_process_needs_nothing_of_the_workers(name: str) -> None:
    workers = {f.module for f in imports(name) if f.always and within(f.module, "gateway.workers")}
    assert workers == set()


@pytest.mark.parametrize("name", inside("middlewares"))
def test_middlewares_import_the_public_names_only(name: str) -> None:
    for found in imports(name):
        if found.module == "gateway":
            assert set(found.names) <= set(gateway.__all__)
        elif within(found.module, *ROOMS):
            assert found.module in ("gateway.options", "gateway.generation")


@pytest.mark.parametrize("name", inside("gateway"))
def test_the_gateway_imports_no_middleware_and_only_the_demo_the_emulator(name: str) -> None:
    assert not [module for module in taken(name) if within(module, "middlewares")]
    if name != "gateway.demo":
        assert not [module for module in taken(name) if within(module, "emulator")]


@pytest.mark.parametrize("name", inside("emulator"))
def test_the_emulator_knows_nothing_of_ours(name: str) -> None:
    assert not [module for module in taken(name) if within(module, "gateway", "middlewares")]


def test_of_the_chaos_runs_only_the_step_inside_the_gateway_knows_it() -> None:
    users = set()
    for file in (ROOT / "chaos").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and within(node.module or "", *ROOMS):
                users.add(file.stem)
    assert users == {"inside"}


@pytest.mark.parametrize("name", MODULES)
def test_nothing_that_serves_imports_tests(name: str) -> None:
    assert not [module for module in taken(name) if within(module, "tests", "pytest", "hypothesis")]


def test_there_are_no_circles() -> None:
    graph = {
        name: {f.module for f in imports(name) if f.always and f.module in MODULES} - {name}
        for name in MODULES
    }
    while True:
        leaves = {name for name, needed in graph.items() if not needed & set(graph)}
        if not leaves:
            break
        graph = {name: needed for name, needed in graph.items() if name not in leaves}
    assert {name: needed & set(graph) for name, needed in graph.items()} == {}


SCRIPT = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m.partition(".")[0] in {rooms!r}]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""


def test_each_module_imports_alone_and_quietly() -> None:
    names = [name for name in MODULES if not name.endswith(".__main__")]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT.replace("{rooms!r}", repr(ROOMS)), *names],
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
