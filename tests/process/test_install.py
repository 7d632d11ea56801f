"""What the installer puts, keeps and removes, below a folder that stands for the root."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.test_units import DEPLOY, ROOT, run

pytestmark = pytest.mark.skipif(
    "CONFINED" in os.environ, reason="it is the administrator who installs"
)

PROGRAM = "opt/fitten-gateway"
UNITS = "etc/systemd/system"


def install(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    result = run("make", "--no-print-directory", "install-service", *words, DESTDIR=str(root))
    assert result.returncode == 0, result.stderr
    return result


def uninstall(root: Path, *words: str) -> list[str]:
    result = run("make", "--no-print-directory", "uninstall-service", *words, DESTDIR=str(root))
    assert (result.returncode, result.stderr) == (0, "")
    return [line.removeprefix(f"kept: {root}/") for line in result.stdout.splitlines()]


def text(root: Path, path: str) -> str:
    return (root / path).read_text("utf-8")


def test_an_update_keeps_the_operators_middlewares(tmp_path: Path) -> None:
    install(tmp_path)
    folder = tmp_path / PROGRAM / "middlewares"
    (folder / "audit.py").write_text("mine")
    (folder / "acme").mkdir()
    (folder / "acme/filter.py").write_text("mine too")
    (folder / "cors.py").write_text("changed")
    result = install(tmp_path)
    assert text(folder, "audit.py") == "mine"
    assert text(folder, "acme/filter.py") == "mine too"
    assert text(folder, "cors.py") == text(ROOT, "middlewares/cors.py")
    assert text(folder, "cors.py.saved") == "changed"
    assert f"yours is {folder}/cors.py.saved" in result.stderr


def test_an_update_removes_our_former_middlewares_unless_they_were_changed(tmp_path: Path) -> None:
    install(tmp_path)
    folder, installed = tmp_path / PROGRAM / "middlewares", tmp_path / PROGRAM / ".installed"
    for name in ("former", "changed"):  # as if an older version had had them
        (folder / f"{name}.py").write_text((folder / "cors.py").read_text("utf-8"))
        line = re.findall(r"^.*/cors\.py\n", installed.read_text("utf-8"), re.MULTILINE)[0]
        with installed.open("a") as file:
            file.write(line.replace("/cors.py", f"/{name}.py"))
    (folder / "changed.py").write_text("mine")
    assert install(tmp_path).stderr == ""
    assert not (folder / "former.py").exists()
    assert text(folder, "changed.py") == "mine"


def test_an_update_keeps_an_edited_socket_and_replaces_one_that_was_not(tmp_path: Path) -> None:
    install(tmp_path)
    socket = f"{UNITS}/fitten-gateway.socket"
    assert install(tmp_path).stderr == ""
    edited = text(tmp_path, socket).replace("127.0.0.1:5000", "0.0.0.0:8080")
    (tmp_path / socket).write_text(edited)
    for _ in range(2):
        result = install(tmp_path)
        assert text(tmp_path, socket) == edited
        assert "was edited and stays" in result.stderr


def test_an_update_saves_an_edited_service_unit(tmp_path: Path) -> None:
    install(tmp_path)
    unit = f"{UNITS}/fitten-gateway.service"
    (tmp_path / unit).write_text("edited")
    assert "fitten-gateway.service.saved" in install(tmp_path).stderr
    assert text(tmp_path, unit) == text(DEPLOY, "fitten-gateway.service")
    assert text(tmp_path, f"{unit}.saved") == "edited"


def test_a_second_version_has_its_own_name_port_and_files(tmp_path: Path) -> None:
    install(tmp_path)
    before = text(tmp_path, f"{UNITS}/fitten-gateway.service")
    install(tmp_path, "NAME=fitten-next", "PORT=5010")
    assert text(tmp_path, f"{UNITS}/fitten-gateway.service") == before
    service = text(tmp_path, f"{UNITS}/fitten-next.service")
    assert "fitten-gateway" not in service
    assert "LoadCredential=gateway-key:/etc/fitten-next/credentials/gateway-key" in service
    assert "ListenStream=127.0.0.1:5010\n" in text(tmp_path, f"{UNITS}/fitten-next.socket")
    assert "port: 5010," in text(tmp_path, "etc/fitten-next/config.yaml")
    assert "port: 5000," in text(tmp_path, "etc/fitten-gateway/config.yaml")
    assert '"127.0.0.1:5011"' in text(tmp_path, "etc/fitten-next/config.yaml")
    assert '"127.0.0.1:5001"' in text(tmp_path, "etc/fitten-gateway/config.yaml")
    assert "program=/opt/fitten-next\n" in text(tmp_path, "usr/local/bin/fitten-next")
    install(tmp_path, "NAME=fitten-next")
    assert "ListenStream=127.0.0.1:5010\n" in text(tmp_path, f"{UNITS}/fitten-next.socket")
    assert "etc/fitten-next" in uninstall(tmp_path, "NAME=fitten-next")
    assert (tmp_path / PROGRAM / "gateway/cli.py").exists()


@pytest.mark.parametrize("name", ["../etc", "a b", "-x", "A"])
def test_a_name_that_is_no_units_name_is_refused(tmp_path: Path, name: str) -> None:
    for script in ("install.sh", "uninstall.sh"):
        result = run("sh", f"deploy/{script}", DESTDIR=str(tmp_path), NAME=name)
        assert result.returncode == 2
    assert not list(tmp_path.iterdir())


def test_uninstalling_keeps_settings_and_what_is_the_operators(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / PROGRAM / "middlewares/audit.py").write_text("mine")
    (tmp_path / PROGRAM / "middlewares/cors.py").write_text("changed")
    drop_in = tmp_path / UNITS / "fitten-gateway.service.d/override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("mine")
    kept = uninstall(tmp_path)
    assert kept == [PROGRAM, "etc/fitten-gateway", f"{UNITS}/fitten-gateway.service.d"]
    files = {str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()}
    assert files == {
        f"{PROGRAM}/middlewares/audit.py",
        f"{PROGRAM}/middlewares/cors.py",
        "etc/fitten-gateway/config.yaml",
        f"{UNITS}/fitten-gateway.service.d/override.conf",
    }
    install(tmp_path)
    assert text(tmp_path, f"{PROGRAM}/middlewares/audit.py") == "mine"


def test_purging_leaves_nothing_and_a_second_time_says_so(tmp_path: Path) -> None:
    install(tmp_path)
    state = tmp_path / "var/lib/private/fitten-gateway"
    state.mkdir(parents=True)
    (state / "fitten.json").write_text("tokens")
    assert uninstall(tmp_path, "PURGE=yes") == []
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]
    result = run("sh", "deploy/uninstall.sh", DESTDIR=str(tmp_path))
    assert (result.returncode, result.stderr) == (1, "There is no service fitten-gateway.\n")


# The command


def installed_command(root: Path) -> list[str]:
    """The installed command, with the folders below `root` in place of those of the machine."""
    install(root)
    command = root / "usr/local/bin/fitten-gateway"
    assert command.stat().st_mode & 0o777 == 0o755
    script = command.read_text("utf-8")
    for folder in ("/opt/", "/etc/", "/var/lib/", "/run/"):
        script = script.replace(folder, f"{root}{folder}")
    command.write_text(script)
    python = root / PROGRAM / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return [str(command)]


def in_folder(folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "CREDENTIALS_DIRECTORY"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_finds_configuration_credentials_and_middlewares(tmp_path: Path) -> None:
    command = installed_command(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "gateway").mkdir(parents=True)
    (elsewhere / "gateway/__init__.py").write_text("raise SystemExit('not this one')")
    missing = in_folder(elsewhere, *command, "check")
    assert missing.returncode == 2
    folder = tmp_path / "etc/fitten-gateway/credentials"
    for name in ("fitten-username", "fitten-password", "gateway-key"):
        (folder / name).write_text(f"secret-of-{name}-0123456789\n")
    (tmp_path / PROGRAM / "acme").mkdir()
    (tmp_path / PROGRAM / "acme/audit.py").write_text(
        "def audit():\n    async def run(request, handler):\n"
        "        return await handler(request)\n    return run\n"
    )
    config = tmp_path / "etc/fitten-gateway/config.yaml"
    config.write_text(config.read_text("utf-8") + "  - acme.audit:audit\n")
    found = in_folder(elsewhere, *command, "check")
    assert (found.returncode, found.stderr) == (0, "")
    assert "acme.audit:audit" in found.stdout
    assert "username: secret-of-fitten-username" in found.stdout
    assert "secret-of-fitten-password" not in found.stdout
    for reading in (["usage"], ["requests"], ["db", "status"]):
        nothing = in_folder(elsewhere, *command, *reading)
        assert nothing.returncode == 1
        assert nothing.stderr.endswith("a gateway makes it when it starts for the first time\n")
    version = in_folder(elsewhere, *command, "version")
    assert version.returncode == 0
    assert not list((tmp_path / PROGRAM).rglob("__pycache__"))


def test_the_command_takes_a_configuration_of_ones_own(tmp_path: Path) -> None:
    command = installed_command(tmp_path)
    for option in ("--config=other.yaml", "--config other.yaml"):
        result = in_folder(tmp_path, *command, "check", *option.split())
        assert result.returncode == 2
        assert "other.yaml" in result.stderr
        assert "etc/fitten-gateway" not in result.stderr


def test_keys_are_made_by_the_command_while_the_service_does_not_run(tmp_path: Path) -> None:
    """By root, in the state folder that systemd gives to a user who exists only then."""
    command = installed_command(tmp_path)
    state = tmp_path / "var/lib/fitten-gateway"
    early = in_folder(tmp_path, *command, "keys", "add", "alice")
    assert (early.returncode, early.stdout) == (1, "")
    assert early.stderr == "The service has no state yet. Start it once, then try again.\n"
    assert not (tmp_path / "state").exists()
    state.mkdir(parents=True, mode=0o700)
    owner = (64_999, 64_998) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(state, *owner)
    limits = ("--chats-per-minute", "60", "--concurrency", "4", "--completions-per-minute", "300")
    made = in_folder(tmp_path, *command, "keys", "add", "alice", *limits)
    assert (made.returncode, made.stdout[:3]) == (0, "fg-"), made.stderr
    assert "concurrency=4" in in_folder(tmp_path, *command, "keys", "list").stdout
    for words in (("usage",), ("requests",), ("audit",), ("db", "verify"), ("db", "backup")):
        done = in_folder(tmp_path, *command, *words)
        assert done.returncode == 0, done.stderr
    files = [state, *state.rglob("*")]
    assert {"team.db", "team.db.spool", "writer"} <= {file.name for file in files}
    assert {(file.stat().st_uid, file.stat().st_gid) for file in files} == {owner}
    status = in_folder(tmp_path, *command, "status")
    assert status.returncode == 1
    for folder in ("run", "var/lib"):
        assert f"{tmp_path}/{folder}/fitten-gateway/admin.sock" in status.stderr


# The interpreter


def venv(order: str, program: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return run("sh", "deploy/venv.sh", order, str(program), **environ)


def other_interpreter(folder: Path) -> Path:
    """An interpreter that says that it is another one than that of these tests."""
    path = folder / "python"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ncase $1 in *interpreter.py) echo "{path}" ;; esac\n')
    path.chmod(0o755)
    return path


def made_by(program: Path) -> str:
    return text(program, ".venv/made-by").strip()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder whose `make install` makes a .venv that knows the interpreter that it got."""
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "Makefile").write_text(
        "install:\n"
        "\t@test -z '$(FAIL)'\n"
        "\t@mkdir -p .venv/bin; test -e .venv/bin/python || {"
        " ln -s $(PYTHON) .venv/bin/python; echo $(PYTHON) > .venv/made-by; }\n"
        "\t@echo update >> .venv/updates\n"
    )
    return folder


def test_an_update_keeps_the_interpreter_unless_another_is_named(program: Path) -> None:
    other = other_interpreter(program.parent / "other")
    for environ, updates in (
        ({"PYTHON": sys.executable}, 1),
        ({"PYTHON": ""}, 2),
        ({"PYTHON": sys.executable}, 3),
    ):
        assert venv("build", program, **environ).returncode == 0
        assert made_by(program) == os.path.realpath(sys.executable)
        assert len(text(program, ".venv/updates").splitlines()) == updates
    assert venv("build", program, PYTHON=str(other)).returncode == 0
    assert made_by(program) == str(other)
    assert len(text(program, ".venv/updates").splitlines()) == 1
    assert not (program / ".venv.former").exists()


def test_an_update_that_fails_leaves_the_former_venv(program: Path) -> None:
    other = other_interpreter(program.parent / "other")
    assert venv("build", program, PYTHON=sys.executable).returncode == 0
    result = venv("build", program, PYTHON=str(other), FAIL="yes")
    assert result.returncode == 1
    assert "former .venv is back" in result.stderr
    assert made_by(program) == os.path.realpath(sys.executable)


def test_make_names_the_interpreter_only_if_the_operator_does() -> None:
    dry = ("make", "--no-print-directory", "--dry-run", "install-service")
    assert 'PYTHON="" ' in run(*dry).stdout
    assert 'PYTHON="/usr/bin/python9" ' in run(*dry, "PYTHON=/usr/bin/python9").stdout


def test_an_interpreter_that_is_not_there_is_refused(program: Path) -> None:
    result = venv("check", program, PYTHON="python-that-is-not-there")
    assert result.returncode == 1
    assert result.stderr == "There is no interpreter python-that-is-not-there.\n"


@pytest.mark.parametrize("named", [True, False])
def test_an_interpreter_that_the_service_cannot_reach_is_refused(
    program: Path, named: bool
) -> None:
    """Also when it is the one of the .venv; tests/unit/deploy has what counts as reached."""
    hidden = program / ".venv/bin/python"
    hidden.parent.mkdir(parents=True)
    script = "#!/bin/sh\ncase $2 in --check) echo hidden >&2; exit 1 ;; esac\n"
    hidden.write_text(script)
    hidden.chmod(0o755)
    result = venv("check", program, PYTHON=str(hidden) if named else "")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "hidden\n")
    hidden.write_text("#!/bin/sh\n")
    assert venv("check", program, PYTHON=str(hidden) if named else "").returncode == 0
