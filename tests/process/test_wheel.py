"""The wheel: everything is in it, and it serves where there is no checkout."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from emulator import Emulator
from gateway.demo import KEY as DEMO_KEY
from tests.support import KEY

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "middlewares", "emulator")
WITHIN = 60.0  # seconds for any event; only a hang takes so long

pytestmark = pytest.mark.timeout(300)  # the fixtures build, and machines differ

# What .gitignore names in the root, and the repository itself.
_IN_ROOT = shutil.ignore_patterns(
    *(".git", ".venv", ".cache", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
    *("*.egg-info", "build", "dist", "state", "logs"),
)
_ANYWHERE = shutil.ignore_patterns("__pycache__", "*.pyc")


def not_source(folder: str, names: list[str]) -> set[str]:
    """What is left out when the tree is copied."""
    return _ANYWHERE(folder, names) | (_IN_ROOT(folder, names) if Path(folder) == ROOT else set())


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    """Run a command that must succeed; returns what it printed."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=outside() | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def outside() -> dict[str, str]:
    """The environment without what would lead a Python process back to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@dataclass(frozen=True)
class Built:
    """What `make dist` makes of a copy of the tree. `files`: those that the sdist needs."""

    tree: Path
    folder: Path
    files: frozenset[str]

    @property
    def sdist(self) -> Path:
        return self._one("*.tar.gz")

    @property
    def wheel(self) -> Path:
        return self._one("*.whl")

    def _one(self, pattern: str) -> Path:
        (found,) = self.folder.glob(pattern)
        return found


def build(tree: Path, folder: Path) -> None:
    script = ("sh", ROOT / "deploy/dist.sh", sys.executable)
    run(*script, folder, tree, cwd=folder.parent, SOURCE_DATE_EPOCH="1700000000")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel is built from the sdist. A copy, since the backend writes beside its sources."""
    folder = tmp_path_factory.mktemp("build")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=not_source)
    files = {file.relative_to(tree).as_posix() for file in tree.rglob("*") if file.is_file()}
    if (ROOT / ".git").exists() and shutil.which("git"):  # not in an unpacked sdist
        listed = run("git", "-c", "safe.directory=*", "ls-files", "-z", cwd=ROOT)
        files &= set(listed.split("\0"))
    build(tree, folder / "dist")
    return Built(tree, folder / "dist", frozenset(files))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel and the runtime's lock, and no more."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=folder)
    binaries = folder / "env/bin"
    (packages,) = (folder / "env/lib").glob("python*/site-packages")
    put_locked(packages)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    pip += ["--python", str(binaries / "python")]
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", built.wheel, cwd=folder)
    run(*pip, "check", cwd=folder)
    return binaries


def put_locked(packages: Path) -> None:
    """Copy what the runtime's lock names from the environment of the tests.

    That was installed from the same lock, and so the test needs no network.
    """
    lock = (ROOT / "requirements/runtime.txt").read_text("utf-8")
    for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python; `pip check` says if it is needed
        assert distribution.files, name
        for file in distribution.files:
            source = Path(str(file.locate()))
            if ".." not in file.parts and source.exists():  # no scripts, nor lost bytecode
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, packages / file)


def test_the_wheel_has_every_module_and_nothing_else(built: Built) -> None:
    modules = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
    }
    typed = {f"{package}/py.typed" for package in PACKAGES}
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == modules | typed


def test_the_sdist_has_what_the_repository_has(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    assert built.files - names == set()


def test_the_same_sources_give_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """At any time, by any user, under any umask."""
    for file in (built.tree / "gateway").rglob("*.py"):
        file.chmod(0o664)
        os.utime(file, (1_500_000_000, 1_500_000_000))
    build(built.tree, tmp_path / "again")
    first, second = (
        {file.name: file.read_bytes() for file in folder.iterdir()}
        for folder in (built.folder, tmp_path / "again")
    )
    assert [name for name in first if first[name] != second.get(name)] == []


def test_the_sums_are_those_of_the_files(built: Built) -> None:
    sums = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (built.sdist, built.wheel)
    }
    lines = (built.folder / "SHA256SUMS").read_text("utf-8").splitlines()
    assert {name: digest for digest, name in (line.split() for line in lines)} == sums


class Command:
    """A run of `fitten-gateway`. What it prints goes to one file, standard error too."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def printed(self) -> str:
        return self._output.read_text("utf-8")

    async def wait_for(self, pattern: str) -> str:
        """Return the first group of a pattern, as soon as a printed line matches it."""
        for _ in range(int(WITHIN / 0.05)):
            if found := re.search(pattern, self.printed):
                return found[1]
            assert self.process.returncode is None, self.printed
            await asyncio.sleep(0.05)
        raise AssertionError(self.printed)

    async def exit_status(self, number: signal.Signals) -> int:
        """Send a signal; returns the status that the command ends with."""
        self.process.send_signal(number)
        async with asyncio.timeout(WITHIN):
            return await self.process.wait()


@asynccontextmanager
async def running(binaries: Path, folder: Path, *arguments: str) -> AsyncIterator[Command]:
    """`fitten-gateway` of the new environment, in a folder that is not the checkout."""
    output = folder / "output"
    with output.open("wb") as opened:
        process = await asyncio.create_subprocess_exec(
            binaries / "fitten-gateway",
            *arguments,
            cwd=folder,
            env=outside(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=opened,
            stderr=opened,
        )
    try:
        yield Command(process, output)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def chat(url: str, key: str) -> tuple[int, str]:
    """A chat that is not streamed: status, and the answer's text or what else came."""
    headers = {"Authorization": f"Bearer {key}"}
    body = {"messages": [{"role": "user", "content": "[[say]]Hello from the wheel"}]}
    timeout = aiohttp.ClientTimeout(total=WITHIN)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as http,
        http.post(f"{url}/v1/chat/completions", json=body) as response,
    ):
        answer = await response.json()
        choices = answer.get("choices")
        return response.status, choices[0]["message"]["content"] if choices else str(answer)


async def test_the_modules_are_those_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    show = "; ".join(f"import {name}; print({name}.__file__)" for name in PACKAGES)
    printed = run(installed / "python", "-c", show, cwd=tmp_path)
    environment = installed.parent
    assert [environment in Path(file).parents for file in printed.splitlines()] == [True] * 3


async def test_an_installed_demo_serves_until_interrupted(installed: Path, tmp_path: Path) -> None:
    async with running(installed, tmp_path, "demo", "--port", "0") as demo:
        url = await demo.wait_for(r"The gateway is at (http://\S+)/v1")
        status, text = await chat(url, DEMO_KEY)
        assert (status, bool(text)) == (200, True), demo.printed
        variables = await demo.wait_for(r"export (FITTEN_GATEWAY_ADMIN_URL=.*)")
        command: list[str | Path] = [
            "env",
            *variables.split(),
            installed / "fitten-gateway",
            "keys",
            "add",
            "alice",
        ]
        made = await asyncio.to_thread(run, *command, cwd=tmp_path)
        key = re.search(r"^fg-\S+$", made, re.MULTILINE)
        assert key is not None, made
        status, text = await chat(url, key[0])
        assert (status, bool(text)) == (200, True), demo.printed
        assert await demo.exit_status(signal.SIGINT) == 0, demo.printed


async def test_an_installed_gateway_serves_with_two_workers(
    installed: Path, tmp_path: Path, emulator: Emulator
) -> None:
    data = {
        "server": {"port": 0, "workers": 2, "drain_timeout": 2.0},
        "fitten": {
            "base_url": emulator.url,
            "models_url": emulator.url,
            "accounts": [{"username": "demo_user", "password": "correct horse"}],
            "state_file": str(tmp_path / "fitten.json"),
        },
        "log": {"format": "json"},
        "middlewares": ["request_id", "request_log", {"api_key": {"keys": [named(KEY)]}}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), "utf-8")
    async with running(installed, tmp_path, "serve") as gateway:
        url = await gateway.wait_for(r'"url":"(http://[^"]+)"')
        status, text = await chat(url, KEY)
        assert (status, bool(text)) == (200, True), gateway.printed
        assert await gateway.exit_status(signal.SIGTERM) == 0, gateway.printed


def named(key: str) -> dict[str, str]:
    return {"name": "tester", "key": key}
