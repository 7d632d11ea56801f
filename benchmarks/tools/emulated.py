"""Runs turns over a gateway and the emulator, which plays a model that does as it is told.

So what is measured is the gateway alone: whether texts reach the model and come back as they
were, how long its prompts are, and how many answers it asks for. No model is measured.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from benchmarks.processes import Processes, free_ports, wait_ready
from benchmarks.targets import GATEWAY
from benchmarks.tools.endpoint import ToolEndpoint
from emulator import EmulatedAccount, Emulator
from gateway.config.settings import Notation
from gateway.doctor.report import TurnResult
from gateway.doctor.tool_cases import ToolCase

_CHAT = "/codeapi/chat_auth"
_USERNAME, _PASSWORD = "bench", "bench password"
_BETWEEN = "--- text {} ---\n{}\n--- end {} ---"


def obeyed(case: ToolCase) -> ToolCase:
    """Return the case with a marker that tells the emulator what to answer.

    Texts between the lines of a case are not in the marker: the emulator reads them from the
    prompt. After a result it needs no marker, and answers from what the prompt says.
    """
    *before, last = case.messages
    if last.role != "user":
        return case
    if case.calls:
        calls = [[call.tool, _references(call.arguments, last.text)] for call in case.calls]
        marker = f"[[obey calls={quote(json.dumps(calls), safe='')}]]"
    else:
        marker = f"[[obey say={quote(case.says[0], safe='')}]]"
    told = replace(last, text=f"{last.text}\n\n{marker}")
    return replace(case, messages=(*before, told))


def _references(arguments: Any, text: str) -> dict[str, Any]:
    """Return arguments in which each text that stands between lines is only its number."""
    return {name: _reference(value, text) for name, value in arguments.items()}


def _reference(value: Any, text: str) -> Any:
    for number in range(1, 10):
        if isinstance(value, str) and _BETWEEN.format(number, value, number) in text:
            return {"text": number}
    return value


class EmulatedTurns:
    """Runs turns of one notation; the emulator counts what it received and wrote."""

    def __init__(self, emulator: Emulator, endpoint: ToolEndpoint) -> None:
        self._emulator = emulator
        self._endpoint = endpoint

    async def run(self, case: ToolCase) -> tuple[TurnResult, str]:
        """Run one turn; see `ToolEndpoint.run`. The characters are those of Fitten's prompts."""
        told = obeyed(case)
        self._emulator.calls.clear()
        result, sentence = await self._endpoint.run(told)
        chats = self._emulator.calls.to(_CHAT)
        marker = len(told.messages[-1].text) - len(case.messages[-1].text)
        received = sum(len(chat.body["inputs"]) - marker for chat in chats)
        return replace(
            result, case=case, characters_in=received, repairs=max(0, len(chats) - 1)
        ), sentence


@asynccontextmanager
async def emulated_turns(notation: Notation, folder: Path) -> AsyncIterator[EmulatedTurns]:
    """Start the emulator in this process, and a gateway in another one."""
    accounts = [EmulatedAccount(_USERNAME, _PASSWORD)]
    with Processes() as processes:
        async with Emulator(accounts=accounts) as emulator, aiohttp.ClientSession() as http:
            (port,) = free_ports(1)
            config = {
                "server": {"host": "127.0.0.1", "port": port, "drain_timeout": 1},
                "fitten": {
                    "base_url": emulator.url,
                    "models_url": emulator.url,
                    "accounts": [{"username": _USERNAME, "password": _PASSWORD}],
                    "state_file": str(folder / f"{notation}.state"),
                },
                "tools": {"notation": {"*": notation}},
                "middlewares": [],
            }
            path = folder / f"{notation}.yaml"
            path.write_text(json.dumps(config), "utf-8")  # JSON is YAML
            command = shlex.split(GATEWAY.replace("{config}", str(path)))
            process = processes.start("gateway", command, folder / f"{notation}.out")
            await asyncio.to_thread(wait_ready, process, port, "/ready")
            url = f"http://127.0.0.1:{port}/v1"
            yield EmulatedTurns(emulator, ToolEndpoint(http, url, None))
