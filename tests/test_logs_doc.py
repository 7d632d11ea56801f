"""docs/logs.md has every event of the log and every field."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from gateway.errors import Cause, GatewayError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/logs.md").read_text("utf-8")
LOGGERS = ("_log", "log")
METHODS = ("debug", "info", "warning", "error", "exception", "log")
REQUEST_LOG = ROOT / "middlewares/request_log.py"

# What structlog and the processors add to lines.
COMMON = {"timestamp", "level", "event", "logger", "request_id", "worker", "exception"}


def all_nodes() -> Iterator[ast.AST]:
    for path in sorted([*ROOT.glob("gateway/**/*.py"), *ROOT.glob("middlewares/*.py")]):
        yield from ast.walk(ast.parse(path.read_text("utf-8")))


def strings(node: ast.AST) -> set[str]:
    """The texts that an argument may be."""
    if isinstance(node, ast.IfExp):
        return strings(node.body) | strings(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def is_logging(node: ast.Call) -> bool:
    called = node.func
    if isinstance(called, ast.Attribute):
        return ast.unparse(called.value) in LOGGERS and called.attr in METHODS
    return isinstance(called, ast.Name) and called.id in LOGGERS


def fields_of(node: ast.Call) -> set[str]:
    fields = {keyword.arg for keyword in node.keywords if keyword.arg not in (None, "exc_info")}
    if any(".log_fields()" in ast.unparse(keyword.value) for keyword in node.keywords):
        error = GatewayError("m")
        error.upstream_status, error.detail = 500, "d"
        fields |= set(error.log_fields())
    return {field for field in fields if field is not None}


def logged() -> dict[str, set[str]]:
    """Return the events in the code, and the fields of each."""
    found: dict[str, set[str]] = {}
    for node in all_nodes():
        if isinstance(node, ast.Call) and is_logging(node):
            for event in set().union(*map(strings, node.args[:2])):
                found.setdefault(event, set()).update(fields_of(node))
        elif isinstance(node, ast.Dict):
            names = set().union(*(strings(key) for key in node.keys if key is not None))
            if "event" in names and (key := names - COMMON):
                (event,) = strings(node.values[0])
                found.setdefault(event, set()).update(key)
    return found


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_the_events_are_found() -> None:
    found = logged()
    assert found["session_failed"] >= {"account", "code", "reason", "detail", "next_try_in"}
    assert found["log_lines_lost"] == {"count"}
    assert {"request", "bug", "account_dead", "listening"} <= set(found)


def test_every_event_is_listed_with_all_its_fields_and_no_others() -> None:
    listed = {
        name: names(fields) for events, fields, *_ in rows("Events") for name in names(events)
    }
    in_code = logged()
    del in_code["request"]
    assert sorted(listed) == sorted(in_code)
    differing = {n: (listed[n], in_code[n]) for n in listed if listed[n] != in_code[n]}
    assert differing == {}


def test_the_fields_of_every_line_are_listed() -> None:
    assert set().union(*(names(cell) for cell, *_ in rows("Every line"))) == COMMON


def test_the_fields_of_a_request_are_listed_and_no_others() -> None:
    in_code: set[str] = set()
    for node in ast.walk(ast.parse(REQUEST_LOG.read_text("utf-8"))):
        if isinstance(node, ast.Dict):
            in_code |= set().union(*(strings(key) for key in node.keys if key is not None))
    listed = set().union(*(names(cell) for cell, *_ in rows("The line of a request")))
    assert listed == in_code


def test_why_a_request_failed_is_found_in_three_steps() -> None:
    assert re.findall(r"(?m)^(\d)\. ", section("Why did req_… fail\\?")) == ["1", "2", "3"]


def test_every_cause_is_explained() -> None:
    explained = [name for cell, *_ in rows("Why did req_… fail\\?") for name in names(cell)]
    missing = set(get_args(Cause)) - set(explained)
    assert missing == set()
