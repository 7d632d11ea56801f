"""What may be shown is decided in gateway/redaction.py alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_arrows import MODULES, ROOT, inside

OURS = [name for name in inside("gateway", "middlewares") if name != "gateway.redaction"]
# Beginnings of keys, and what stands in place of a secret.
LITERALS = re.compile(r"sk-|eyJ|FT_|\*{4}")
NAMES = re.compile(r"mask|redact|printable|censor|sanitiz|anonym|scrub", re.IGNORECASE)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
TEXTS = ("args", "filename", "log_fields", "message", "problem", "reason", "strerror")

# Where the text of a caught exception is used, how often, and why it can quote nothing else.
SHOWN = {
    "gateway.admin.api.messages": (2, "msgspec names fields, kinds and bounds; for who asked"),
    "gateway.admin.api.resources.events": (1, "a GatewayError"),
    "gateway.apis.json_body": (1, "msgspec names fields and kinds; its text is taken apart"),
    "gateway.apis.openai.responses.tools": (1, "an InvalidRequest"),
    "gateway.app": (1, "the Redactor masks it; a factory has seen the configuration only"),
    "gateway.admin.client.execution": (1, "AdminRefusal is ours; for the admin at the terminal"),
    "gateway.admin.client.offline": (1, "StoreUnusable is ours; for the admin at the terminal"),
    "gateway.admin.client.target": (1, "the system's name of an error"),
    "gateway.cli": (2, "for the operator at the terminal: the file or address in question"),
    "gateway.config.file": (1, "SecretUnreadable is ours"),
    "gateway.config.document": (2, "the system's name of an error; _NotUtf8 is ours"),
    "gateway.config.secret_files": (1, "the system's name of an error"),
    "gateway.demo": (1, "for the operator at the terminal: the address in question"),
    "gateway.doctor.command": (1, "a GatewayError"),
    "gateway.doctor.tool_turns": (1, "a GatewayError"),
    "gateway.fitten.auth.session": (1, "a GatewayError"),
    "gateway.fitten.auth.token_saver": (1, "the system's name of an error"),
    "gateway.fitten.background_refresh": (1, "a GatewayError"),
    "gateway.fitten.completion.completer": (1, "a GatewayError"),
    "gateway.fitten.http.connection": (1, "BadResponse is ours"),
    "gateway.fitten.json_mode.answer": (1, "msgspec names a position; the text goes to the model"),
    "gateway.fitten.tools.record": (1, "msgspec names fields and kinds of a record's members"),
    "gateway.generation.json_values": (1, "it is compared with msgspec's text, and not shown"),
    "gateway.ledger.commands.command": (3, "all are ours; for the operator at the terminal"),
    "gateway.init.command": (2, "both are ours; for the operator at the terminal"),
    "gateway.keys.edits": (1, "msgspec names fields, kinds and bounds; for the admin who asked"),
    "gateway.keys.key_database": (1, "StoreUnusable is ours; for the admin who asked"),
    "gateway.ledger.reader": (1, "StoreUnusable is ours; for the admin who asked"),
    "gateway.middleware": (1, "settings mask it; an import has seen the configuration only"),
    "gateway.replay.command": (1, "BadRecord is ours; for the operator at the terminal"),
    "gateway.server.node_keys": (1, "a GatewayError"),
    "gateway.server.node_ledger": (1, "StoreUnusable is ours; for the operator at the start"),
    "gateway.server.reload": (1, "ReloadRefused is ours"),
    "gateway.setup.arguments": (1, "ProbeError is ours; for the user at the terminal"),
    "gateway.setup.command": (1, "ArgumentError is ours; for the user at the terminal"),
    "gateway.setup.launch": (4, "ours, or the system's name of an error; for the user"),
    "gateway.store.token_file": (1, "the system's name of an error"),
    "gateway.workers.master": (1, "pickle names a function; for the operator at the start"),
    "gateway.workers.revisions": (1, "the system's name of an error"),
    "gateway.workers.rpc.channel": (1, "msgspec names fields and kinds of our own messages"),
    "gateway.workers.services.control": (1, "a GatewayError"),
}


def decisions(tree: ast.Module) -> Iterator[str]:
    """What looks like a decision about what is shown."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if LITERALS.search(node.value):
                yield f"line {node.lineno}: {node.value[:40]!r}"
        elif isinstance(node, DEFINITIONS) and NAMES.search(node.name):
            yield f"line {node.lineno}: {node.name}"


def exception_texts(tree: ast.Module) -> Iterator[str]:
    """Where the text of an exception is used in the `except` that caught it."""
    handlers = (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))
    for handler in handlers:
        for node in ast.walk(handler):
            if isinstance(node, ast.Call):
                whole = ast.unparse(node.func) in ("str", "repr", "format")
                used = whole and [ast.unparse(arg) for arg in node.args] == [handler.name]
            elif isinstance(node, ast.FormattedValue):
                used = ast.unparse(node.value) == handler.name
            else:
                of_it = isinstance(node, ast.Attribute) and ast.unparse(node.value) == handler.name
                used = of_it and isinstance(node, ast.Attribute) and node.attr in TEXTS
            if used:
                yield f"line {getattr(node, 'lineno', '?')}: {ast.unparse(node)}"


@pytest.mark.parametrize("name", OURS)
def test_no_other_module_decides_what_is_shown(name: str) -> None:
    path = MODULES[name]
    found = list(decisions(ast.parse(path.read_text("utf-8"))))
    assert not found, (
        f"{path.relative_to(ROOT)} decides what may be shown ({'; '.join(found)}): only "
        "gateway/redaction.py does. Add a function there, or use one."
    )


@pytest.mark.parametrize("name", OURS)
def test_the_text_of_an_exception_is_used_only_where_it_quotes_nothing(name: str) -> None:
    path = MODULES[name]
    found = list(exception_texts(ast.parse(path.read_text("utf-8"))))
    count, _ = SHOWN.get(name, (0, ""))
    assert len(found) == count, (
        f"{path.relative_to(ROOT)} uses texts of exceptions ({'; '.join(found)}): they may quote "
        "a prompt or a secret. Use a function of gateway/redaction.py, or say in SHOWN why not."
    )


def test_every_module_that_shows_a_text_exists() -> None:
    assert set(SHOWN) <= set(OURS)


SAMPLE = """
PATTERN = "(?!sk-|eyJ)x"
def _masked(key): return "****" + key[-4:]
try: work()
except ValueError as error:
    log(str(error), f"{error}", error.args, error.strerror)
    log(type(error).__name__, exc_info=error)
"""


def test_the_search_finds_decisions() -> None:
    tree = ast.parse(SAMPLE)
    assert sorted(decisions(tree)) == [
        "line 2: '(?!sk-|eyJ)x'",
        "line 3: '****'",
        "line 3: _masked",
    ]
    assert len(list(exception_texts(tree))) == 4
