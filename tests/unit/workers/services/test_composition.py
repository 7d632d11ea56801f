"""One file per service: its messages are in it, and both ends know all of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gateway.workers
from gateway.workers.rpc.peer import RpcPeer
from gateway.workers.services import composition
from gateway.workers.services.composition import MasterState, WorkerClients, WorkerServers
from tests.unit.workers.support import no_response

FOLDER = Path(str(gateway.workers.__file__)).parent
SERVICES = sorted(
    file for file in (FOLDER / "services").glob("*.py") if not file.name.startswith("__")
)
BASES = {"RpcMessage", "RpcRequest", "RpcResponse"}


def messages_in(file: Path) -> dict[str, str]:
    """Return the messages that a file defines, each with its base."""
    found = {}
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            name = ast.unparse(base).partition("[")[0]
            if isinstance(node, ast.ClassDef) and name in BASES:
                found[node.name] = name
    return found


def imported_messages(file: Path) -> set[str]:
    """Return the names that a file imports from files of services, if they are messages."""
    every = {name for service in SERVICES for name in messages_in(service)}
    return {
        alias.name
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and "workers.services" in (node.module or "")
        for alias in node.names
        if alias.name in every
    }


def test_messages_are_defined_in_files_of_services_only() -> None:
    others = {
        str(file.relative_to(FOLDER)): set(messages_in(file))
        for file in FOLDER.rglob("*.py")
        if file not in SERVICES and messages_in(file)
    }
    own = {"RpcResponse", "RpcRequest", "CancelRequest", "RpcFailed"}
    assert others == {"rpc/messages.py": own}


def test_no_message_of_a_service_is_read_outside_of_its_file() -> None:
    users = {file.name: imported_messages(file) for file in FOLDER.rglob("*.py")}
    assert {name: messages for name, messages in users.items() if messages} == {}


def test_each_message_of_a_service_is_received_by_one_end() -> None:
    master, worker = RpcPeer(no_response), RpcPeer(no_response)
    WorkerServers(master, MasterState())
    WorkerClients(worker)
    ends = {name for end in (master, worker) for name in end._kinds}
    defined = {
        name
        for file in SERVICES
        if file.stem != "control"  # has a test of its own, of every command
        for name in messages_in(file)
    }
    assert ends - {"CancelRequest", "RpcFailed"} == defined
    assert set(master._kinds) & set(worker._kinds) == {"CancelRequest", "RpcFailed"}


@pytest.mark.parametrize("side", ["Servers", "Clients"])
def test_every_service_has_a_line_at_each_end(side: str) -> None:
    """`control` is not among them: `process` and `worker` create its two sides."""
    tree = ast.parse(Path(str(composition.__file__)).read_text("utf-8"))
    (node,) = (
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == f"Worker{side}"
    )
    lines = {
        ast.unparse(target).removeprefix("self.")
        for statement in ast.walk(node)
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    }
    assert lines == {file.stem for file in SERVICES} - {"composition", "control"}
