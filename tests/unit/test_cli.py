"""The command line, as a process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gateway import __version__
from tests.waiting import LONGEST_WAIT

ROOT = Path(__file__).parents[2]

CONFIG = """\
server: {port: 0}
fitten:
  base_url: http://127.0.0.1:9
  models_url: http://127.0.0.1:9
  accounts: [{username: "${FITTEN_USERNAME}", password: "${FITTEN_PASSWORD}"}]
middlewares:
  - api_key: {keys: [{name: default, key: "${GATEWAY_API_KEY}"}]}
"""
ENVIRON = {
    "FITTEN_USERNAME": "ada",
    "FITTEN_PASSWORD": "correct horse",
    "GATEWAY_API_KEY": "team-key-0123456789",
}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `python -m gateway` with arguments; keyword arguments are its environment."""
    (tmp_path / "config.yaml").write_text(CONFIG)

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        usual = {name: value for name, value in os.environ.items() if name not in ENVIRON}
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=tmp_path,
            env={**usual, "PYTHONPATH": str(ROOT), **environ},
            capture_output=True,
            text=True,
            timeout=LONGEST_WAIT,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    "arguments",
    [["--help"], *([name, "--help"] for name in ("serve", "check", "doctor", "setup", "run"))],
)
def test_help_is_given_and_the_exit_is_0(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert "usage: python -m gateway" in result.stdout


def test_help_names_every_command(run: Run) -> None:
    printed = run("--help").stdout
    commands = ("serve", "check", "doctor", "demo", "setup", "run", "replay", "usage", "requests")
    team = ("keys", "teams", "admin-keys", "grant", "audit", "accounts", "live", "status", "init")
    assert all(command in printed for command in (*commands, *team, "db", "version"))


def test_replay_needs_no_configuration_and_refuses_what_is_no_record(run: Run) -> None:
    result = run("replay", "config.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "config.yaml is not JSON\n"
    assert run("replay", "config.yaml", "--json", "--test").returncode == 2
    assert run("replay", "--help").stdout.startswith("usage: python -m gateway replay")


@pytest.mark.parametrize("argument", ["--version", "version"])
def test_the_version_is_printed(run: Run, argument: str) -> None:
    result = run(argument)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("argument", ["--help", "version", "--version"])
def test_help_and_version_import_none_of_the_libraries(argument: str) -> None:
    found = imported("-m", "gateway", argument)
    assert "argparse" in found
    assert not found & {"aiohttp", "yaml", "structlog", "msgspec", "asyncio", "ssl"}


def test_setup_imports_nothing_that_serves() -> None:
    found = imported("-m", "gateway", "setup")
    assert "gateway.setup.clients" in found
    assert not found & {"aiohttp", "structlog", "asyncio", "gateway.app", "gateway.server"}


@pytest.mark.parametrize("command", ["usage", "requests"])
def test_commands_that_read_the_ledger_import_nothing_that_serves(command: str) -> None:
    found = imported("-m", "gateway", command, "--config", "config.yaml", status=1)
    assert "gateway.ledger.commands.command" in found
    assert not found & {"aiohttp", "asyncio", "structlog", "yarl", "ssl", "http.client"}
    assert len(found) < 230


def test_keys_are_made_with_few_modules_and_nothing_that_serves(tmp_path: Path) -> None:
    """So that the command takes a tenth of a second. Modules are counted, not seconds."""
    config = tmp_path / "config.yaml"
    config.write_text(f"fitten: {{state_file: {tmp_path}/fitten.json}}\n")
    found = imported("-m", "gateway", "keys", "add", "alice", "--config", str(config))
    assert {"gateway.keys.manager", "gateway.admin.client.offline"} <= found
    assert not found & {"aiohttp", "asyncio", "structlog", "yarl", "gateway.middleware"}
    assert len(found) < 320


@pytest.mark.parametrize("command", ["keys list", "usage", "status"])
def test_a_gateway_elsewhere_is_asked_with_few_modules(command: str) -> None:
    found = imported("-m", "gateway", *command.split(), "--url", "http://127.0.0.1:9", status=1)
    assert "gateway.admin.client.connection" in found
    assert not found & {"aiohttp", "asyncio", "structlog", "yarl", "gateway.middleware"}
    assert len(found) < 320


def imported(*arguments: str, status: int = 0) -> set[str]:
    """The modules that Python imports with these arguments."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status
    return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}


def test_help_imports_little_beyond_what_reads_the_command_line() -> None:
    """A number of modules, because the time that they take depends on the machine."""
    more = imported("-m", "gateway", "--help") - imported("-c", "import argparse, runpy")
    assert "gateway.cli" in more
    assert len(more) < 48, more  # each package with commands has a module of their options


def test_only_the_doctor_imports_the_modules_of_the_doctor(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    accounts = CONFIG.replace("${FITTEN_USERNAME}", "ada").replace("${FITTEN_PASSWORD}", "horse")
    config.write_text(accounts.partition("middlewares")[0] + "middlewares: []\n")
    serving = imported("-c", "import gateway.server.single_process, gateway.workers.master")
    checking = imported("-m", "gateway", "check", "--config", str(config))
    assert "gateway.app" in serving
    assert "gateway.config.loading" in checking
    doctor = {name for name in serving | checking if name.startswith("gateway.doctor")}
    assert doctor == {"gateway.doctor", "gateway.doctor.command_line"}  # its options, for --help


@pytest.mark.parametrize(
    "arguments", [[], ["sreve"], ["serve", "--prot", "1"], ["serve", "--port", "x"]]
)
def test_a_wrong_command_line_exits_2(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "usage: python -m gateway" in result.stderr


def test_check_prints_the_effective_configuration_with_secrets_masked(run: Run) -> None:
    result = run("check", **ENVIRON)
    assert (result.returncode, result.stderr) == (0, "")
    effective = yaml.safe_load(result.stdout)
    (account,) = effective["fitten"]["accounts"]
    assert (account["username"], account["password"]) == ("ada", "****")
    assert effective["server"]["host"] == "127.0.0.1"
    assert "correct horse" not in result.stdout
    assert "team-key-0123456789" not in result.stdout


def test_check_into_a_pipe_that_nobody_reads_is_silent(run: Run, tmp_path: Path) -> None:
    assert run("check", **ENVIRON).returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        result = subprocess.run(
            [sys.executable, "-m", "gateway", "check"],
            cwd=tmp_path,
            env={**os.environ, **ENVIRON, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LONGEST_WAIT,
            check=False,
        )
    assert (result.returncode, result.stderr) == (0, "")


def test_check_shows_the_address_of_the_command_line(run: Run) -> None:
    result = run("check", "--host", "::1", "--port", "8080", **ENVIRON)
    server = yaml.safe_load(result.stdout)["server"]
    assert (server["host"], server["port"]) == ("::1", 8080)


def test_what_check_prints_can_be_loaded_again(run: Run, tmp_path: Path) -> None:
    printed = run("check", **ENVIRON).stdout
    masked = yaml.safe_load(printed)
    masked["fitten"]["accounts"][0]["password"] = ENVIRON["FITTEN_PASSWORD"]
    masked["middlewares"][0]["api_key"]["keys"][0]["key"] = ENVIRON["GATEWAY_API_KEY"]
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(masked))
    assert run("check", "--config", "again.yaml").stdout == printed


@pytest.mark.parametrize("command", ["check", "serve"])
def test_missing_credentials_exit_2_and_each_line_is_named(run: Run, command: str) -> None:
    result = run(command, "--config", "config.yaml")
    assert result.returncode == 2
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first == "The configuration has 3 mistakes:"
    for line, (number, name) in zip(
        rest,
        [(5, "FITTEN_USERNAME"), (5, "FITTEN_PASSWORD"), (7, "GATEWAY_API_KEY")],
        strict=True,
    ):
        assert line.startswith(f"  config.yaml:{number}: ")
        assert f"the environment variable {name} is not set" in line


def test_a_missing_file_exits_2(run: Run) -> None:
    result = run("serve", "--config", "none.yaml")
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "The configuration has 1 mistake:",
        "  none.yaml: cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize("port", ["-1", "70000", "99999"])
@pytest.mark.parametrize("command", ["serve", "check", "demo"])
def test_a_port_that_is_none_exits_2(run: Run, command: str, port: str) -> None:
    result = run(command, f"--port={port}", **ENVIRON)
    assert result.returncode == 2
    assert f"argument --port: {port} is no port; allowed: 0 to 65535" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_local_configuration_is_the_default_when_there_is_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.local.yaml").write_text(CONFIG.replace("port: 0", "port: 5123"))
    assert yaml.safe_load(run("check", **ENVIRON).stdout)["server"]["port"] == 5123
    other = run("check", "--config", "config.yaml", **ENVIRON).stdout
    assert yaml.safe_load(other)["server"]["port"] == 0
    (tmp_path / "config.local.yaml").unlink()
    assert yaml.safe_load(run("check", **ENVIRON).stdout)["server"]["port"] == 0


OWN_MIDDLEWARE = """\
class audit:
    def __init__(self, *, word: str = "x") -> None:
        self.word = word

    async def __call__(self, request, handler):
        return await handler(request)
"""


def test_a_folder_middlewares_beside_the_configuration_is_searched(
    run: Run, tmp_path: Path
) -> None:
    own = tmp_path / "etc" / "middlewares"
    own.mkdir(parents=True)
    (own / "audit.py").write_text(OWN_MIDDLEWARE)
    config = tmp_path / "etc" / "config.yaml"
    config.write_text(CONFIG + "  - audit: {word: hello}\n")
    result = run("check", "--config", "etc/config.yaml", **ENVIRON)
    assert (result.returncode, result.stderr) == (0, "")
    assert yaml.safe_load(result.stdout)["middlewares"][1] == {"audit": {"word": "hello"}}
    config.write_text(CONFIG + "  - audti\n")
    result = run("check", "--config", "etc/config.yaml", **ENVIRON)
    assert "no such middleware; did you mean audit? known: api_key, audit, cors," in result.stderr


def test_an_open_address_without_a_key_exits_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.partition("middlewares")[0] + "middlewares: []\n")
    result = run("serve", "--host", "0.0.0.0", **ENVIRON)
    assert result.returncode == 2
    assert "--host: 0.0.0.0 can be reached from other machines" in result.stderr


PLUGIN = """\
class tickets:
    async def __call__(self, request, handler):
        return await handler(request)
"""


@pytest.mark.parametrize("command", ["check", "serve"])
def test_an_open_address_with_a_plugin_that_declares_nothing_exits_2(
    run: Run, tmp_path: Path, command: str
) -> None:
    (tmp_path / "acme.py").write_text(PLUGIN)
    text = CONFIG.partition("middlewares")[0] + "middlewares: ['acme:tickets']\n"
    (tmp_path / "config.yaml").write_text(text.replace("port: 0", "host: 0.0.0.0"))
    result = run(command, **ENVIRON)
    assert result.returncode == 2
    assert "config.yaml:1: server.host: 0.0.0.0 can be reached from other m" in result.stderr


def test_an_open_address_with_a_plugin_that_authenticates_is_served(
    run: Run, tmp_path: Path
) -> None:
    """The port is in use: so `serve` ends, and it tried to listen."""
    (tmp_path / "acme.py").write_text(PLUGIN + "\n    authenticates = True\n")
    text = CONFIG.partition("middlewares")[0] + "middlewares: ['acme:tickets']\n"
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        server = f"host: 0.0.0.0, port: {taken.getsockname()[1]}"
        (tmp_path / "config.yaml").write_text(text.replace("port: 0", server))
        assert run("check", **ENVIRON).returncode == 0
        result = run("serve", **ENVIRON)
    assert result.returncode == 1
    assert "address already in use" in result.stderr.lower()


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_plugin_with_an_error_in_it_exits_2(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "acme.py").write_text("def middleware(:\n")
    (tmp_path / "config.yaml").write_text(CONFIG + "  - 'acme:middleware'\n")
    result = run(command, **ENVIRON)
    assert result.returncode == 2
    assert "config.yaml:8: middlewares[1].acme:middleware: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_in_use_exits_1_with_one_line_after_the_version(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("serve", "--port", str(taken.getsockname()[1]), **ENVIRON)
    assert result.returncode == 1
    assert result.stdout == ""
    first, line = result.stderr.splitlines()  # and nothing was logged in to before
    assert first.endswith(f" info    server: starting version={__version__}")
    assert line.startswith("Cannot start: ")
    assert "address already in use" in line.lower()


def test_a_log_file_that_the_file_system_refuses_exits_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG + "log: {file: /proc/no-such-file}\n")
    result = run("serve", **ENVIRON)
    assert result.returncode == 2
    assert "config.yaml: log.file: cannot be written: No such file or directory" in result.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_log_file_that_cannot_be_opened_exits_2_with_its_line(
    run: Run, tmp_path: Path, command: str
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG + "log: {file: none/gateway.log}\n")
    result = run(command, **ENVIRON)
    assert result.returncode == 2
    assert result.stderr.splitlines()[1:] == [
        "  config.yaml:8: log.file: cannot be written: there is no folder none"
    ]


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("ca_file", "says"),
    [
        ("none.pem", "cannot be read: No such file or directory"),
        ("config.yaml", "has no certificates in PEM form"),
    ],
)
def test_a_ca_file_that_cannot_be_used_exits_2_with_its_line(
    run: Run, tmp_path: Path, ca_file: str, says: str, command: str
) -> None:
    changed = CONFIG.replace("  base_url:", f"  ca_file: {ca_file}\n  base_url:")
    (tmp_path / "config.yaml").write_text(changed)
    result = run(command, **ENVIRON)
    assert result.returncode == 2
    assert result.stderr.splitlines()[1:] == [f"  config.yaml:3: fitten.ca_file: {says}"]


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_host_that_is_not_this_machines_exits_2_with_its_line(
    run: Run, tmp_path: Path, command: str
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("port: 0", "host: 198.51.100.7"))
    result = run(command, **ENVIRON)
    assert result.returncode == 2
    says = "config.yaml:1: server.host: 198.51.100.7 is not an address of this machine"
    assert says in result.stderr
    (tmp_path / "config.yaml").write_text(CONFIG)
    result = run(command, "--host", "198.51.100.8", **ENVIRON)
    assert result.returncode == 2
    assert "--host: 198.51.100.8 is not an address of this machine" in result.stderr


def test_check_prints_warnings_and_exits_0(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    result = run("check", "--quiet", **{**ENVIRON, "GATEWAY_API_KEY": "team-key-1"})
    assert (result.returncode, result.stdout) == (0, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Warning: config.yaml:7: middlewares[0].api_key.keys[0].key: has only ")


def test_the_service_logs_warnings_in_the_format_of_the_log(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG + "log: {format: json}\n")
    with socket.socket() as taken:  # so that it ends at once
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run("serve", "--port", port, **{**ENVIRON, "GATEWAY_API_KEY": "team-key-1"})
    assert result.returncode == 1
    line = json.loads(next(li for li in result.stderr.splitlines() if li.startswith("{")))
    assert (line["event"], line["level"]) == ("config_warning", "warning")
    assert "config.yaml:7: middlewares[0].api_key.keys[0].key: has only 10 char" in line["text"]
    assert "team-key-1" not in result.stderr


@pytest.mark.parametrize("command", ["usage", "requests"])
def test_the_ledger_is_read_by_commands(run: Run, command: str) -> None:
    result = run(command, "--since", "7d", "--json", **ENVIRON)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("state/team.db does not exist; a gateway makes it")
    assert run("db", "migrate", "--json", **ENVIRON).returncode == 0
    result = run(command, "--key", "alice", "--json", **ENVIRON)
    assert result.stderr == ""
    assert json.loads(result.stdout)["rows"] == []
    assert run(command, "--since", "soon", **ENVIRON).returncode == 2


def test_without_a_store_the_ledger_is_not_read_and_sqlite_not_imported(
    run: Run, tmp_path: Path
) -> None:
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("store: {url: none}\n")
    result = run("db", "verify", **ENVIRON)
    assert result.returncode == 1
    assert result.stderr == (
        "store.url is none, so there is no database and no ledger. Set 'store: {url: "
        '"sqlite:///team.db"}\' in the configuration\n'
    )
    code = "import gateway.cli, gateway.ledger.ledger, sys; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_path_of_the_store_is_relative_to_the_configuration_file(
    run: Run, tmp_path: Path
) -> None:
    with (tmp_path / "config.yaml").open("a") as file:
        file.write('store: {url: "sqlite:///var/my.db"}\n')
    assert run("db", "migrate", **ENVIRON).returncode == 0
    assert (tmp_path / "var" / "my.db").exists()
