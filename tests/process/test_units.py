"""The units and what is installed with them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import needs
from tests.waiting import LONGEST_WAIT

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVICE = DEPLOY / "fitten-gateway.service"
PYTHON = "/opt/fitten-gateway/.venv/bin/python"

analysed = needs("systemd-analyze")


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_WAIT,
    )


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units as they would be on a machine where the gateway is installed."""
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in DEPLOY.glob("fitten-gateway.*"):
        text = unit.read_text().replace(PYTHON, sys.executable)
        (folder / unit.name).write_text(text)
    return sorted(str(unit) for unit in folder.iterdir())


@analysed
def test_systemd_finds_no_fault_with_the_units(units: list[str]) -> None:
    result = run("systemd-analyze", "verify", "--man=no", *units)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@analysed
def test_the_service_is_exposed_no_more_than_1_2() -> None:
    result = run("systemd-analyze", "security", "--offline=true", "--threshold=12", str(SERVICE))
    assert result.returncode == 0, result.stdout


def test_the_reload_drop_in_differs_in_nothing_but_the_signal() -> None:
    check = re.findall(r"^ExecReload=(?!kill)(.+)$", SERVICE.read_text(), re.MULTILINE)
    drop_in = (DEPLOY / "notify-reload.conf").read_text()
    assert re.findall(r"^ExecReload=(.+)$", drop_in, re.MULTILINE) == check
    assert "Type=notify-reload" in drop_in


def test_systemd_waits_longer_than_the_gateway_drains() -> None:
    timeout = re.search(r"^TimeoutStopSec=(\d+)$", SERVICE.read_text(), re.MULTILINE)
    assert timeout
    config = yaml.safe_load((DEPLOY / "config.yaml").read_text())
    assert int(timeout[1]) >= config["server"]["drain_timeout"] + 10


def credentials() -> set[str]:
    return set(re.findall(r"^LoadCredential=([\w-]+):", SERVICE.read_text(), re.MULTILINE))


def test_the_configuration_uses_the_credentials_that_the_unit_loads(tmp_path: Path) -> None:
    used = set(re.findall(r"\$\{credential:([\w-]+)\}", (DEPLOY / "config.yaml").read_text()))
    assert used == credentials()
    for name in used:
        (tmp_path / name).write_text(f"secret-{name}\n")
    command = (sys.executable, "-m", "gateway", "check", "--config", "deploy/config.yaml")
    result = run(*command, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    assert "secret-fitten-password" not in result.stdout
    assert "secret-gateway-key" not in result.stdout
    assert run(*command, CREDENTIALS_DIRECTORY="").returncode == 2


def test_the_check_before_a_reload_needs_no_credentials_and_says_nothing() -> None:
    found = re.search(rf"^ExecReload={PYTHON} (.+)$", SERVICE.read_text(), re.MULTILINE)
    assert found
    arguments = found[1].replace("/etc/fitten-gateway/config.yaml", "deploy/config.yaml").split()
    result = run(sys.executable, *arguments, CREDENTIALS_DIRECTORY="")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def effective(config: Path, credentials: Path) -> Any:
    """Return the effective settings under the folders that the unit has."""
    for name in ("fitten-username", "fitten-password", "gateway-key"):
        (credentials / name).write_text(f"secret-{name}\n")
    folders = {
        f"{kind}_DIRECTORY": f"/{place}/{found[1]}"
        for kind, place in (("STATE", "var/lib"), ("RUNTIME", "run"))
        if (found := re.search(rf"^{kind.title()}Directory=(.+)$", SERVICE.read_text(), re.M))
    }
    command = (sys.executable, "-m", "gateway", "check", "--config", str(config))
    result = run(*command, CREDENTIALS_DIRECTORY=str(credentials), **folders)
    assert result.returncode == 0, result.stderr
    return yaml.safe_load(result.stdout)


def test_the_service_has_its_store_and_admin_socket_in_its_folders(tmp_path: Path) -> None:
    settings = effective(DEPLOY / "config.yaml", tmp_path)
    assert settings["store"]["url"] == "sqlite:////var/lib/fitten-gateway/team.db"
    assert settings["admin"]["socket"] == "/run/fitten-gateway/admin.sock"
    for kind in ("State", "Runtime"):
        assert f"\n{kind}DirectoryMode=0700\n" in SERVICE.read_text()


def test_the_configuration_opens_no_second_port_before_the_operator_says_so(tmp_path: Path) -> None:
    assert effective(DEPLOY / "config.yaml", tmp_path)["admin"]["listen"] is None
    text = (DEPLOY / "config.yaml").read_text()
    assert "\n# admin: " in text
    opened = tmp_path / "config.yaml"
    opened.write_text(text.replace("\n# admin: ", "\nadmin: "))
    assert effective(opened, tmp_path)["admin"]["listen"] == "127.0.0.1:5001"


@pytest.mark.skipif("CONFINED" in os.environ, reason="it is the administrator who installs")
def test_installing_puts_every_file_and_keeps_a_changed_configuration(tmp_path: Path) -> None:
    install = ("make", "install-service", f"PYTHON={sys.executable}")
    result = run(*install, DESTDIR=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    config = tmp_path / "etc/fitten-gateway/config.yaml"
    config.write_text("changed")
    stale = tmp_path / "opt/fitten-gateway/gateway/stale.py"
    stale.touch()
    assert run(*install, DESTDIR=str(tmp_path)).returncode == 0
    assert config.read_text() == "changed"
    assert not stale.exists()
    assert (config.parent / "credentials").stat().st_mode & 0o777 == 0o700
    for unit in ("fitten-gateway.service", "fitten-gateway.socket"):
        assert (tmp_path / "etc/systemd/system" / unit).read_text() == (DEPLOY / unit).read_text()
    program = tmp_path / "opt/fitten-gateway"
    version = subprocess.run(
        [sys.executable, "-m", "gateway", "version"],
        cwd=program,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""},
    )
    assert version.stdout
    assert not list(program.rglob("__pycache__"))
