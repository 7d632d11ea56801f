"""Starts what is measured: nginx as the lower limit, the gateway, its variants, and peers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import (
    ROOT,
    BenchProcess,
    BenchProcessFailed,
    Processes,
    free_ports,
    wait_ready,
)

_KEYS = 8  # a key takes at most rate_limit's 100,000 requests a minute
_KEY = "sk-bench-4f1c9a7e2d8b6035c1e7a94d-"  # and its number

_HERE = Path(__file__).parent
_PEERS = ROOT / ".venv" / "peers"
GATEWAY = f"{shlex.quote(sys.executable)} -m gateway serve --config {{config}}"


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """Describes something that answers chat completions: the upstream, or something before it."""

    name: str
    process: BenchProcess
    port: int
    health: str
    ready_after: float = 0.0  # seconds from its start
    keys: int = _KEYS
    slow: bool = False  # gets fewer connections and streams


def bench_key(number: int) -> str:
    """Return the key of a target, from 1 on."""
    return f"{_KEY}{number}"


def missing_tools(*wanted: str) -> str | None:
    """Say what to install before anything can be measured; None if nothing is missing."""
    missing = sorted(tool for tool in wanted if _tool(tool) is None)
    if not missing:
        return None
    return (
        f"The benchmark needs {', '.join(missing)}. On Debian and Ubuntu: "
        f"sudo apt-get install {' '.join(missing)}"
    )


def _tool(name: str) -> str | None:
    """Debian keeps nginx where only root's PATH looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `over` into `base`: mappings key by key, anything else replaces what was there."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = laid_over(below, value)
        else:
            merged[key] = value
    return merged


class Lab:
    """Holds a temporary folder and the upstream; targets are started as they are needed."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder = folder
        self._processes = processes
        self._count = 0
        self._certificate()
        self.upstream = self._start(
            "upstream", [sys.executable, "-m", "benchmarks.upstream", "--tls", str(folder)]
        )
        self.http, self.https = self._upstream_ports()

    @property
    def folder(self) -> Path:
        """Return the temporary folder, in which the configurations are."""
        return self._folder

    @property
    def direct(self) -> BenchTarget:
        """Return the upstream itself, asked for what the gateway would answer."""
        return BenchTarget("direct", self.upstream, self.http, "/")

    def stop(self, target: BenchTarget) -> None:
        self._processes.stop(target.process)

    def nginx(self, *, tls: bool = False) -> BenchTarget:
        """Start one worker of nginx that passes the upstream's bytes."""
        port, tls_port = free_ports(2)
        folder = self._folder / f"nginx-{port}"
        folder.mkdir()
        template = string.Template((_HERE / "nginx.conf.in").read_text("utf-8"))
        config = template.substitute(
            # As root the worker would become another user, who may not enter the folder.
            user="user root root;" if os.geteuid() == 0 else "",
            port=port,
            tls_port=tls_port,
            http=self.http,
            https=self.https,
            ca_file=self._folder / "cert.pem",
        )
        (folder / "nginx.conf").write_text(config, "utf-8")
        command = [str(_tool("nginx")), "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
        process = self._start("nginx", command)
        wait_ready(process, port, "/health")
        return BenchTarget("nginx", process, tls_port if tls else port, "/health")

    def gateway(
        self,
        name: str = "gateway",
        command: str = GATEWAY,
        *,
        tls: bool = False,
        tree: Path = ROOT,
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> BenchTarget:
        """Start the gateway with the chain of config.yaml, its log in a file as JSON.

        `tree` is the checkout whose gateway it is; `settings` are laid over the configuration.
        """
        (port,) = free_ports(1)
        base = f"https://localhost:{self.https}" if tls else f"http://127.0.0.1:{self.http}"
        place = self._folder / f"{name}-{port}"
        # The database of the ledger is beside the state file. In one folder, the gateway that got
        # the lock would write the rows of all.
        state = place.with_suffix(".state")
        state.mkdir()
        fitten = {
            "base_url": base,
            "models_url": base,
            "accounts": [{"username": "bench", "password": "bench password"}],
            "state_file": str(state / "fitten.json"),
            "pool": {"max_concurrent": 100_000},  # one account bears all of the load
        }
        if tls:
            fitten["ca_file"] = str(self._folder / "cert.pem")
        keys = [{"name": f"key{i}", "key": f"{_KEY}{i}"} for i in range(1, _KEYS + 1)]
        config: dict[str, Any] = {
            "server": {"host": "127.0.0.1", "port": port, "drain_timeout": 1},
            "fitten": fitten,
            "log": {"level": "info", "format": "json", "file": f"{place}.log"},
            "middlewares": [
                "request_id",
                "request_log",
                {"cors": {"allow_origins": []}},
                {"api_key": {"keys": keys}},
                {"rate_limit": {"requests_per_minute": 100_000}},
            ],
        }
        path = Path(f"{place}.yaml")
        config = laid_over(config, settings or {})
        path.write_text(json.dumps(config, indent=1), "utf-8")  # JSON is YAML
        started = time.monotonic()
        words = shlex.split(command.replace("{config}", str(path)))
        process = self._start(name, words, environ, tree)
        wait_ready(process, port, "/ready")
        return BenchTarget(name, process, port, "/health", time.monotonic() - started)

    def litellm(self) -> BenchTarget:
        """Start LiteLLM's proxy before the upstream's OpenAI side, with one key and no database."""
        (port,) = free_ports(1)
        model = {
            "model": "openai/fitten-code",
            "api_base": f"http://127.0.0.1:{self.http}/v1",
            "api_key": "none",
        }
        path = self._folder / "litellm.yaml"
        config = {
            "model_list": [{"model_name": "fitten-code", "litellm_params": model}],
            "general_settings": {"master_key": f"{_KEY}1"},
        }
        path.write_text(json.dumps(config), "utf-8")
        command = [_PEERS / "bin" / "litellm", "--config", path, "--host", "127.0.0.1"]
        started = time.monotonic()
        process = self._start(
            "litellm",
            [*map(str, command), "--port", str(port), "--num_workers", "1"],
            # Its prices and its telemetry are not to be fetched from elsewhere.
            {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
        )
        wait_ready(process, port, "/health/liveliness", timeout=120)
        taken = time.monotonic() - started
        return BenchTarget("litellm", process, port, "/health/liveliness", taken, keys=1, slow=True)

    def _start(
        self,
        name: str,
        command: list[str],
        environ: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> BenchProcess:
        self._count += 1
        log = self._folder / f"{name}-{self._count}.out"
        return self._processes.start(name, command, log, environ, folder)

    def _certificate(self) -> None:
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
            "-keyout key.pem -out cert.pem"
        )
        done = subprocess.run(
            command.split(), cwd=self._folder, capture_output=True, timeout=30, check=False
        )
        if done.returncode:
            raise BenchProcessFailed(f"openssl made no certificate: {done.stderr.decode()[-500:]}")

    def _upstream_ports(self) -> tuple[int, int]:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            self.upstream.check()
            line = self.upstream.log.read_text()
            if line.endswith("\n"):
                ports = json.loads(line)
                return ports["http"], ports["https"]
            time.sleep(0.02)
        raise BenchProcessFailed("the upstream does not start")


@contextmanager
def laboratory() -> Iterator[Lab]:
    """Open a lab whose processes and files are removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes() as processes:
        yield Lab(Path(folder), processes)


def install_peers() -> None:
    """Install LiteLLM in a virtual environment of its own. Raises BenchProcessFailed."""
    if (_PEERS / ".done").exists():
        return
    print("Installing LiteLLM into .venv/peers ...", file=sys.stderr, flush=True)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(_PEERS)],
        [
            str(_PEERS / "bin" / "pip"),
            "--disable-pip-version-check",
            "-q",
            "install",
            "litellm[proxy]",
        ],
    ):
        try:
            done = subprocess.run(command, timeout=900, check=False)
        except subprocess.TimeoutExpired:
            raise BenchProcessFailed("LiteLLM could not be installed within 15 minutes") from None
        if done.returncode:
            raise BenchProcessFailed(f"LiteLLM could not be installed: {shlex.join(command)}")
    (_PEERS / ".done").touch()


def versions() -> dict[str, str]:
    """Return the versions of what was measured, and of the tools."""
    code = "import importlib.metadata as m; print(m.version('{}'))"
    found = {"python": sys.version.split()[0], "kernel": os.uname().release}
    found["cores"] = str(len(os.sched_getaffinity(0)))
    for package in ("aiohttp", "msgspec", "fitten-gateway"):
        found[package] = _output([sys.executable, "-c", code.format(package)])
    found["nginx"] = _output([str(_tool("nginx")), "-v"]).rpartition("/")[2]
    found["wrk"] = _output([str(_tool("wrk")), "-v"]).split(" [")[0].removeprefix("wrk ")
    if (_PEERS / ".done").exists():
        found["litellm"] = _output([str(_PEERS / "bin" / "python"), "-c", code.format("litellm")])
    return {name: version for name, version in found.items() if version}


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    text = (done.stdout + done.stderr).strip()
    return "" if "Traceback" in text else text.partition("\n")[0]
