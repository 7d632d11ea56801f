"""No secret is in the output of `check` and `serve`, however wrong the configuration is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main
from tests.integration.canaries.net import Net

ACCOUNT = "fitten: {accounts: [{username: ada, password: %s}]}\n"
CHAIN = "middlewares: [{api_key: {keys: [{name: a, key: %s}]}}]\n"
YAML = {
    "a quote that is not closed": 'fitten: {accounts: [{username: a, password: "%s}]}\n',
    "no space after the colon": "fitten: {accounts: [{username: a, password:%s}]}\n",
    "a block without a space": "fitten:\n  accounts:\n    - username: a\n      password:%s\n",
    "a list for a password": "fitten: {accounts: [{username: a, password: [%s]}]}\n",
    "a mapping for a password": "fitten: {accounts: [{username: a, password: {%s: 1}}]}\n",
    "text for accounts": "fitten: {accounts: %s}\n",
    "text for an account": "fitten: {accounts: [%s]}\n",
    "the password twice": "fitten: {accounts: [{username: a, password: %s, password: %s}]}\n",
    "the same account twice": "fitten: {accounts: [{username: a, password: %s}, {username: a, "
    "password: %s}]}\n",
    "text for keys": "middlewares: [{api_key: {keys: %s}}]\n",
    "keys of text": "middlewares: [{api_key: {keys: [%s]}}]\n",
    "a key for a middleware": "middlewares: [{api_key: %s}]\n",
    "a key as a middleware": "middlewares: [%s]\n",
    "a key after a middleware": "middlewares: ['api_key:%s']\n",
    "half a digest": "middlewares: [{api_key: {keys: [{name: a, key: 'sha256:%s'}]}}]\n",
    "an unknown anchor": "fitten: {accounts: [{username: a, password: *%s}]}\n",
    "an anchor twice": "a: &%s x\nb: &%s x\nc: *%s\nd: *none\n",
    "an unknown directive": "%%%s\n---\na: 1\n",
    "a tab": "fitten:\n\taccounts: %s\n",
    "a proxy without a scheme": "fitten: {proxy: 'ada:%s@proxy'}\n",
    "an address with a password": "fitten: {base_url: 'ftp://ada:%s@fitten.example'}\n",
    "a tag": "fitten: {accounts: [{username: a, password: !%s x}]}\n",
    "a handle of a tag": "fitten: {accounts: [{username: a, password: !%s!x x}]}\n",
    "good but for the port": ACCOUNT + CHAIN + "server: {port: 70000}\n",
    "a level": ACCOUNT + CHAIN + "log: {level: %s}\n",
    "a number": ACCOUNT + CHAIN + "server: {port: %s}\n",
    "a switch": ACCOUNT + CHAIN + "server: {allow_open: %s}\n",
    "an option": ACCOUNT + CHAIN + "server: {%s: 1}\n",
    "a section": ACCOUNT + CHAIN + "%s: {port: 1}\n",
    "a list as a name": ACCOUNT + CHAIN + "server: {? [%s] : 1}\n",
    "nothing but the secret": "%s\n",
    "a control character": "fitten: {accounts: [{username: a, password: %s\x07}]}\n",
    "an unknown escape": 'fitten: {accounts: [{username: a, password: "%s\\q%s"}]}\n',
    "a variable": "fitten: {accounts: [{username: a, password: '%s${NOT_SET}'}]}\n",
    "a credential's name": "fitten: {accounts: [{username: a, password: '${credential:/%s}'}]}\n",
    "a file's name": "fitten: {accounts: [{username: a, password: '${file:%s}'}]}\n",
    "from the environment, as a level": "log: {level: '${CANARY}'}\n",
    "from the environment, as a number": "server: {port: '${CANARY}'}\n",
    "from the environment, as a proxy": "fitten: {proxy: 'ada:${CANARY}@proxy'}\n",
    "from the environment, as a digest": "middlewares: [{api_key: {keys: [{name: a, key: "
    "'sha256:${CANARY}'}]}}]\n",
    "from a file, as a level": "log: {level: '${file:SECRET_FILE}'}\n",
    "from a file, as a host": ACCOUNT + "server: {host: '${file:SECRET_FILE}'}\nmiddlewares: []\n",
    "from a credential, as a number": "server: {port: '${credential:canary}'}\n",
}
INI = {
    "no section": "username = a\npassword = %s\n",
    "no equals sign": "[Main]\nusername = a\n%s\n",
    "the password twice": "[Main]\npassword = %s\npassword = %s\n",
    "the secret's name twice": "[Main]\n%s = 1\n%s = 1\n",
    "a secret as a section": "[%s]\nusername = a\n",
    "a secret as a section twice": "[%s]\n[%s]\n",
    "a secret as an option": "[Main]\n%s = 1\n",
}


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where a secret can come from, and what it is."""
    secrets = {
        "written": "canaryConfig0815-",
        "environment": "canaryEnviron4711",
        "file": "canaryFile9923",
        "credential": "canaryCredential5",
    }
    monkeypatch.setenv("CANARY", secrets["environment"])
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name, source in (("secret", "file"), ("canary", "credential")):
        (tmp_path / name).write_text(secrets[source])
        (tmp_path / name).chmod(0o600)
    return secrets


def test_no_secret_leaves_the_process_when_the_configuration_is_wrong(
    secrets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Net(secrets)
    files = [(f"{name}, YAML", text, ".yaml") for name, text in YAML.items()]
    files += [(f"{name}, INI", text, ".ini") for name, text in INI.items()]
    for name, text, ending in files:
        path = tmp_path / f"config{ending}"
        text = text.replace("SECRET_FILE", str(tmp_path / "secret"))
        path.write_text(text.replace("%s", secrets["written"]))
        for command in ("check", "serve"):
            assert main([command, "--config", str(path)]) == 2, name
            net.failed(f"{command}: {name}", *capsys.readouterr())
    assert len(net.failures) == 2 * len(files) >= 80
    assert net.leaks() == []


def test_no_secret_is_in_the_effective_configuration(
    secrets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    keys = ", ".join(
        f"{{name: k{number}, key: '{key}'}}"
        for number, key in enumerate(
            ("${CANARY}", f"${{file:{tmp_path}/secret}}", "${credential:canary}", "canaryKey-1")
        )
    )
    path.write_text(
        "fitten:\n  accounts: [{username: ada, password: 'canary password 1'}, {username: bob, "
        "password: '${credential:canary}'}]\n  proxy: http://ada:canaryProxy7@proxy:3128\n"
        f"middlewares: [{{api_key: {{keys: [{keys}]}}}}]\n"
    )
    others = ("canary password 1", "canaryProxy7", "canaryKey-1")
    net = Net({**secrets, **{other: other for other in others}})
    assert main(["check", "--config", str(path)]) == 0
    net.put("effective configuration", "".join(capsys.readouterr()))
    assert net.leaks() == []
    assert "****" in net.catch[0][1]


def test_the_exception_that_ends_the_process_is_logged_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gateway import cli

    def fails(*_: object) -> None:
        raise RuntimeError("canary of a crash")

    monkeypatch.setattr(cli, "_load", fails)
    monkeypatch.setattr("sys.argv", ["fitten-gateway", "check"])
    monkeypatch.setattr("sys.excepthook", None)
    with pytest.raises(RuntimeError) as caught:
        main()
    import sys

    sys.excepthook(caught.type, caught.value, caught.tb)
    output = "".join(capsys.readouterr())
    assert "RuntimeError: (17 characters that are not logged)" in output
    assert "canary of a crash" not in output.replace('RuntimeError("canary of a crash")', "")
