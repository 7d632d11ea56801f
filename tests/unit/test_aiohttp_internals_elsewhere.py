"""What aiohttp keeps private is used in gateway/aiohttp_internals.py alone."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.test_arrows import MODULES, ROOT, inside

OURS = [n for n in inside("gateway", "middlewares") if n != "gateway.aiohttp_internals"]


def defined(tree: ast.AST) -> Iterator[str]:
    """What a module or a class defines: functions, variables, and what is assigned to self."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in ("self", "cls"):
                yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@functools.cache
def private_names_of(kind: type) -> frozenset[str]:
    """The private names of a class of aiohttp: defined, in slots, or assigned to self."""
    names = {*defined(ast.parse(textwrap.dedent(inspect.getsource(kind)))), *vars(kind)}
    return frozenset(filter(private, names))


def private_names_above(kind: type) -> set[str]:
    """The private names that a class of ours inherits from classes of aiohttp."""
    theirs = [one for one in kind.__mro__ if one.__module__.startswith(("aiohttp", "aiohttp_sse"))]
    return {name for one in theirs for name in private_names_of(one)}


def inherited_from_ours(loaded: Any) -> Iterator[str]:
    """The names that classes of a module have from classes of ours in other modules."""
    for kind in vars(loaded).values():
        if isinstance(kind, type) and kind.__module__ == getattr(loaded, "__name__", None):
            for base in kind.__mro__[1:]:
                if base.__module__.startswith("gateway."):
                    yield from defined(ast.parse(textwrap.dedent(inspect.getsource(base))))


def faults(tree: ast.Module, loaded: Any) -> Iterator[str]:
    """Where a module uses a private name of aiohttp, or an undocumented module of it."""
    documented = {"aiohttp", "aiohttp.web", "aiohttp.abc", "aiohttp_sse"}
    own = {*defined(tree), *inherited_from_ours(loaded)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (n for n in names if n.startswith("aiohttp") and n not in documented)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiohttp"):
            public = {*aiohttp.__all__, "web", "hdrs", "abc"}
            for alias in node.names:
                hidden = node.module == "aiohttp" and alias.name not in public
                if node.module not in documented or hidden or private(alias.name):
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            holder = getattr(loaded, ast.unparse(node.value), None)
            standard = isinstance(holder, ModuleType) and holder.__name__ in sys.stdlib_module_names
            if not standard:
                yield ast.unparse(node)
        elif isinstance(node, ast.ClassDef):
            kind = getattr(loaded, node.name, None)
            if isinstance(kind, type):
                yield from inherited_faults(node, kind)


def inherited_faults(node: ast.ClassDef, kind: type) -> Iterator[str]:
    """Where a class of ours that inherits from one of aiohttp uses or hides its private names."""
    hidden = private_names_above(kind)
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and child.attr in hidden:
            if ast.unparse(child.value) in ("self", "cls", "super()"):
                yield f"{node.name}: {ast.unparse(child)}"
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and child.name in hidden:
            yield f"{node.name}: def {child.name}"
        elif isinstance(child, ast.Name) and child.id in hidden:
            yield f"{node.name}: {child.id}"


def faults_in(name: str, text: str) -> list[str]:
    return list(faults(ast.parse(text), importlib.import_module(name)))


@pytest.mark.parametrize("name", [n for n in OURS if not n.endswith("__main__")])
def test_private_names_of_aiohttp_are_used_in_one_module_only(name: str) -> None:
    found = faults_in(name, MODULES[name].read_text("utf-8"))
    assert not found, (
        f"{MODULES[name].relative_to(ROOT)} uses {', '.join(found)}: only "
        "gateway/aiohttp_internals.py uses what aiohttp keeps private. Give it a plain name there."
    )


SAMPLE = """
import aiohttp.web_protocol
from aiohttp import web, web_app
from aiohttp.connector import Connection
class Mine(web.RequestHandler):
    _keepalive = True
    def _process_keepalive(self): ...
    def one(self):
        self._mine = self._manager._connections
        self._close = True
        super()._pause_reading_for_buffer()
def two(request):
    request._read_bytes = b""
    web_app._cached_build_middleware.cache_clear()
    os._exit(1)
"""


def test_the_search_finds_private_names() -> None:
    loaded: Any = SimpleNamespace(os=os)
    loaded.Mine = type("Mine", (web.RequestHandler,), {"__slots__": ()})
    assert set(faults(ast.parse(SAMPLE), loaded)) == {
        "aiohttp.web_protocol",
        "aiohttp.web_app",
        "aiohttp.connector.Connection",
        "Mine: _keepalive",
        "Mine: def _process_keepalive",
        "self._manager._connections",
        "self._manager",
        "Mine: self._manager",
        "Mine: self._close",
        "super()._pause_reading_for_buffer",
        "Mine: super()._pause_reading_for_buffer",
        "request._read_bytes",
        "web_app._cached_build_middleware",
    }
