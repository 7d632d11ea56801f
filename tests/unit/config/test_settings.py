"""config.yaml is a contract: names, defaults, mistakes, masks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.loading import load_config
from gateway.config.settings import Config, ConfigError
from gateway.options import Secret

GOLDEN = Path(__file__).parent / "golden"

ENVIRON = {
    "FITTEN_USERNAME": "ada",
    "FITTEN_PASSWORD": "correct horse",
    "GATEWAY_API_KEY": "team-key-1234",
}

CONTRACT = """\
server: {host: 127.0.0.1, port: 5000}
fitten:
  base_url: https://fc.fittenlab.cn
  models_url: https://api.fittentech.com
  accounts:
    - {username: "${FITTEN_USERNAME}", password: "${FITTEN_PASSWORD}"}
log: {level: info, format: console, file: null}      # format: console | json
middlewares:
  - request_id
  - request_log
  - cors: {allow_origins: []}
  - api_key: {keys: [{name: default, key: "${GATEWAY_API_KEY}"}]}
  - rate_limit:
      requests_per_minute: 60
      completions_per_minute: 300
      listings_per_minute: 120
      concurrency: 8
"""

FITTEN = "fitten: {accounts: [{username: ada, password: correct horse}]}\n"
KEYS = "middlewares: [{api_key: {keys: [{name: a, key: team-key-1234}]}}]\n"


class Files:
    """Writes configuration files and loads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, text: str, name: str = "config.yaml", **environ: str) -> Config:
        path = self.folder / name
        path.write_text(text, "utf-8")
        return load_config(path, environ)

    def mistakes(self, text: str, name: str = "config.yaml", **environ: str) -> list[str]:
        """The mistakes, with the file's name in place of its path."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, name, **environ)
        assert str(caught.value) == "\n".join(caught.value.mistakes)
        return [line.replace(str(self.folder / name), name) for line in caught.value.mistakes]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_contract_is_understood(files: Files) -> None:
    config = files.load(CONTRACT, **ENVIRON)
    assert (config.server.host, config.server.port) == ("127.0.0.1", 5000)
    assert config.fitten.base_url == "https://fc.fittenlab.cn"
    assert config.fitten.models_url == "https://api.fittentech.com"
    account = config.fitten.accounts[0]
    assert (account.username, account.password) == ("ada", Secret("correct horse"))
    assert (config.log.level, config.log.format, config.log.file) == ("info", "console", None)
    assert [middleware.name for middleware in config.middlewares] == [
        "request_id",
        "request_log",
        "cors",
        "api_key",
        "rate_limit",
    ]


def test_only_accounts_and_middlewares_have_no_default(files: Files) -> None:
    short = files.load(FITTEN + KEYS)
    assert short.server.host == "127.0.0.1"
    assert short.server.port == 5000
    assert short.server.max_body_bytes == 20 * 1024 * 1024
    assert files.mistakes("") == [
        "config.yaml: fitten.accounts: is missing",
        "config.yaml: middlewares: is missing; see config.yaml for the usual list",
    ]


def test_the_file_in_the_tree_is_the_contract() -> None:
    here = Path(__file__).parents[3] / "config.yaml"
    assert yaml.safe_load(here.read_text("utf-8")) == yaml.safe_load(CONTRACT)
    load_config(here, ENVIRON)


def test_the_effective_configuration_is_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    config = load_config(GOLDEN / "config.yaml", ENVIRON)
    assert config.as_data() == yaml.safe_load((GOLDEN / "effective.yaml").read_text("utf-8"))


def test_the_effective_configuration_masks_every_secret(files: Files) -> None:
    config = files.load(
        FITTEN + "middlewares: [{api_key: {keys: [{name: a, key: team-key-1234}, "
        f"{{name: b, key: 'sha256:{'01' * 32}'}}]}}}}]\n"
    )
    printed = yaml.safe_dump(config.as_data()) + repr(config)
    for secret in config.secrets():
        assert secret not in printed
    assert sorted(config.secrets()) == ["correct horse", f"sha256:{'01' * 32}", "team-key-1234"]
    assert "'****'" in printed


def test_the_password_of_a_proxy_is_masked(files: Files) -> None:
    config = files.load(
        "fitten:\n  accounts: [{username: ada, password: correct horse}]\n"
        "  proxy: http://ada:hidden-word@proxy.example:3128\n" + KEYS
    )
    assert "hidden-word" not in yaml.safe_dump(config.as_data())


def test_the_password_within_a_proxys_address_is_a_secret_of_its_own(files: Files) -> None:
    config = files.load(
        "fitten:\n  accounts: [{username: ada, password: correct horse}]\n"
        "  proxy: http://ada:hidden%2Fword@proxy.example:3128\n" + KEYS
    )
    assert {"hidden%2Fword", "hidden/word"} <= set(config.secrets())


@pytest.mark.parametrize(
    ("credentials", "says"),
    [
        ("us%3Aer:hidden-word@", "the user name in the address has a colon"),
        ("user:%E5%AF%86hidden-word@", "the password in the address has characters beyond Latin-1"),
        ("密码:hidden-word@", "the user name in the address has characters beyond Latin-1"),
        ("user:%C3%DChidden-word@", "the password in the address has characters beyond Latin-1"),
    ],
)
@pytest.mark.parametrize("option", ["proxy", "base_url", "models_url"])
def test_a_name_and_a_password_in_an_address_must_fit_a_header(
    files: Files, option: str, credentials: str, says: str
) -> None:
    (mistake,) = files.mistakes(
        "fitten:\n  accounts: [{username: ada, password: correct horse}]\n"
        f"  {option}: http://{credentials}proxy.example:3128\n" + KEYS
    )
    assert mistake.startswith(f"config.yaml:3: fitten.{option}: {says}")
    assert "hidden-word" not in mistake


def test_a_password_in_latin_1_fits_a_header(files: Files) -> None:
    config = files.load(
        "fitten:\n  accounts: [{username: ada, password: correct horse}]\n"
        "  proxy: http://ada:%C3%A9t%C3%A9@proxy.example:3128\n" + KEYS
    )
    assert "été" in config.secrets()


def test_a_name_of_a_header_must_be_one(files: Files) -> None:
    for name in ("x-请求", "x request", "x:y"):
        text = f"middlewares: [{{request_id: {{header: '{name}'}}}}]\n"
        (mistake,) = files.mistakes(FITTEN + text)
        assert mistake.startswith("config.yaml:2: middlewares[0].request_id.header: is not the na")


@pytest.mark.parametrize("name", ["username", "password"])
def test_a_variable_that_is_not_utf8_is_a_mistake(files: Files, name: str) -> None:
    in_gbk = os.fsdecode("密码".encode("gbk"))
    account = {"username": "ada", "password": "correct horse", name: "${NAME}"}
    text = "fitten: {accounts: [{username: '%(username)s', password: '%(password)s'}]}\n"
    (mistake,) = files.mistakes(text % account + KEYS, NAME=in_gbk)
    assert mistake.startswith(
        f"config.yaml:1: fitten.accounts[0].{name}: the environment variable NAME is not text in "
        "UTF-8"
    )


def test_a_file_written_by_a_json_library_is_read(files: Files) -> None:
    """JSON escapes a character beyond U+FFFF as two: YAML has no such pairs."""
    data = {
        "fitten": {"accounts": [{"username": "密😀", "password": "correct \U0001f600"}]},
        "middlewares": [{"api_key": {"keys": [{"name": "键", "key": "team-key-0123456789"}]}}],
    }
    assert r"\ud83d\ude00" in json.dumps(data)
    config = files.load(json.dumps(data))
    account = config.fitten.accounts[0]
    assert (account.username, account.password.value) == ("密😀", "correct 😀")


@pytest.mark.parametrize("half", [r"\ud83d", r"\ude00\ud83d", r"\ude00"])
def test_half_a_character_is_a_mistake(files: Files, half: str) -> None:
    text = f'fitten: {{accounts: [{{username: ada, password: "a{half}"}}]}}\n'
    (mistake,) = files.mistakes(text + KEYS)
    assert mistake.startswith("config.yaml:1: fitten.accounts[0].password: has half of a character")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"${NAME}"', "ada"),
        ("${NAME}", "ada"),
        ('"a-${NAME}-${NAME}"', "a-ada-ada"),
        ('"${NONE:-bob}"', "bob"),
        ('"${EMPTY:-bob}"', "bob"),
        ('"${NAME:-bob}"', "ada"),
        ('"x${NONE:-}y"', "xy"),
        ('"${NONE:-a b:c-d}"', "a b:c-d"),
        ('"$${NAME}"', "${NAME}"),
        ('"${NONE:-$NAME}"', "$NAME"),
        ('"$$NAME"', "$$NAME"),
        ('"${NESTED}"', "${NAME}"),
        ('"100%"', "100%"),
    ],
)
def test_values_are_taken_from_the_environment(files: Files, written: str, value: str) -> None:
    config = files.load(
        f"fitten:\n  accounts:\n  - username: {written}\n    password: correct horse\n" + KEYS,
        NAME="ada",
        EMPTY="",
        NESTED="${NAME}",
    )
    assert config.fitten.accounts[0].username == value


def test_numbers_and_switches_may_come_from_the_environment(files: Files) -> None:
    config = files.load(
        'server: {port: "${PORT}", allow_open: "${OPEN}", body_timeout: "${WAIT:-2.5}"}\n'
        + FITTEN
        + KEYS,
        PORT="8080",
        OPEN="true",
    )
    server = config.server
    assert (server.port, server.allow_open, server.body_timeout) == (8080, True, 2.5)


def test_each_missing_variable_is_reported_with_its_line(files: Files) -> None:
    says = "is not set; set it, or write the value here"
    assert files.mistakes(CONTRACT) == [
        "config.yaml:6: fitten.accounts[0].username: the environment variable "
        f"FITTEN_USERNAME {says}",
        "config.yaml:6: fitten.accounts[0].password: the environment variable "
        f"FITTEN_PASSWORD {says}",
        "config.yaml:12: middlewares[3].api_key.keys[0].key: the environment variable "
        f"GATEWAY_API_KEY {says}",
    ]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("middlewares: ['${NONE}']\n", "config.yaml:2: middlewares[0]"),
        ("middlewares: '${NONE}'\n", "config.yaml:2: middlewares"),
        (KEYS + "server: '${NONE}'\n", "config.yaml:3: server"),
        (KEYS + "log: {level: '${NONE}'}\n", "config.yaml:3: log.level"),
    ],
)
def test_a_missing_variable_is_reported_wherever_it_stands(
    files: Files, text: str, path: str
) -> None:
    (mistake,) = files.mistakes(FITTEN + text)
    assert mistake.startswith(f"{path}: the environment variable NONE is not set")


def test_every_mistake_is_reported_at_once_with_path_and_line(files: Files) -> None:
    text = """\
server:
  prot: 5000
  port: 70000
  host: 127.0.0.1
  allow_open: maybe
fitten:
  base_url: fc.fittenlab.cn
  accounts:
    - username: ""
      password: 1234
      token: x
  timeouts: {connect: 0, first: 1}
log: {level: loud, format: json, file: ""}
streams: {}
middlewares:
  - request_di
  - rate_limit: {requests_per_minute: many}
"""
    found = files.mistakes(text)
    expected = {
        "config.yaml:2: server.prot: unknown option; did you mean port? known: host, port, "
        "workers, allow_open, max_body_bytes, large_bodies, header_timeout, body_timeout, "
        "max_connections, send_buffer, drain_timeout, trusted_proxies, time_zone",
        "config.yaml:3: server.port: 70000 is out of bounds; allowed: 0 to 65535",
        "config.yaml:5: server.allow_open: expected true or false, not text",
        "config.yaml:7: fitten.base_url: 'fc.fittenlab.cn' is not an address like "
        "https://example.org",
        "config.yaml:9: fitten.accounts[0].username: must not be empty",
        "config.yaml:10: fitten.accounts[0].password: expected text, not a number (write it in "
        "quotes if it is text)",
        "config.yaml:11: fitten.accounts[0].token: unknown option; known: username, password, "
        "max_concurrent",
        "config.yaml:12: fitten.timeouts.connect: 0 is out of bounds; allowed: 0.01 to 86400 "
        "seconds",
        "config.yaml:12: fitten.timeouts.first: unknown option; did you mean first_piece? known: "
        "connect, call, first_piece, between_pieces, answer",
        "config.yaml:13: log.level: 'loud' is not known; allowed: debug, info, warning, error",
        "config.yaml:13: log.file: must not be empty",
        "config.yaml:17: middlewares[1].rate_limit.requests_per_minute: expected a whole number, "
        "not text",
    }
    others = [line for line in found if line not in expected]
    assert set(found) >= expected
    assert sorted(line.partition(";")[0].partition(": neither")[0] for line in others) == [
        "config.yaml:14: streams: unknown option",
        "config.yaml:16: middlewares[0].request_di: no such middleware",
    ]


def test_an_unknown_section_is_reported_with_all_that_are_known(files: Files) -> None:
    (mistake,) = files.mistakes(FITTEN + KEYS + "streams: {}\n")
    says = "config.yaml:3: streams: unknown option; did you mean stream? known: "
    known = mistake.removeprefix(says).split(", ")
    assert sorted(known) == [
        *("admin", "audit", "fitten", "images", "ledger", "limits", "log", "middlewares"),
        *("models", "server", "store", "stream", "teams", "tools"),
    ]


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("server: {port: '5000x'}", "server.port: expected a whole number, not text"),
        ("server: {port: 5000.5}", "server.port: expected a whole number, not a number"),
        ("server: {port: true}", "server.port: expected a whole number, not true or false"),
        ("server: {port: null}", "server.port: expected a whole number, not nothing"),
        ("server: {port: -1}", "server.port: -1 is out of bounds"),
        ("server: {port: [1]}", "server.port: expected a whole number, not a list"),
        ("server: {host: 1}", "server.host: expected text, not a number"),
        ("server: {allow_open: 1}", "server.allow_open: expected true or false, not a number"),
        ("server: {allow_open: yes please}", "server.allow_open: expected true or false"),
        ("server: {body_timeout: .nan}", "server.body_timeout: expected a number"),
        ("server: {body_timeout: .inf}", "server.body_timeout: inf is out of bounds"),
        ("server: {body_timeout: 1e999}", "server.body_timeout: "),
        ("server: {max_body_bytes: .inf}", "server.max_body_bytes: expected a whole number"),
        ("server: {max_body_bytes: 0}", "server.max_body_bytes: 0 is out of bounds"),
        ("server: {port: 2001-02-03}", "server.port: expected a whole number, not text"),
        ("server: []", "server: expected a mapping, not a list"),
        ("server: 1", "server: expected a mapping, not a number"),
        (
            "stream: {grace: {}}",
            "stream.grace: expected a number of seconds, e.g. 30, not a mapping",
        ),
        ("log: {level: [info]}", "log.level: a list is not known"),
        ("log: {level: {a: 1}}", "log.level: a mapping is not known"),
        ("log: {file: 3}", "log.file: expected text, not a number"),
        ("log: {1: 2}", "log.1: unknown option"),
        ("log: {a.b: 2}", "log.a.b: unknown option"),
        ("5: 1", "5: unknown option"),
    ],
)
def test_a_wrong_type_is_reported_with_what_would_be_right(
    files: Files, section: str, says: str
) -> None:
    (mistake,) = files.mistakes(FITTEN + KEYS + section)
    assert mistake.startswith(f"config.yaml:3: {says}")


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "http://", "https:// a", "//a", "http://a?b", "http://a#b"]
)
def test_an_address_must_be_one(files: Files, url: str) -> None:
    (mistake,) = files.mistakes(
        f"fitten:\n  accounts: [{{username: a, password: correct}}]\n  base_url: '{url}'\n" + KEYS
    )
    assert mistake.startswith("config.yaml:3: fitten.base_url: ")


def accounts(*names: str) -> str:
    each = ", ".join(f"{{username: {name}, password: correct horse}}" for name in names)
    return f"fitten: {{accounts: [{each}]}}\n"


def test_there_may_be_several_accounts(files: Files) -> None:
    config = files.load(accounts("ada", "bob", "eve") + KEYS)
    assert [account.username for account in config.fitten.accounts] == ["ada", "bob", "eve"]


def test_an_account_may_have_its_own_number_of_chats_at_once(files: Files) -> None:
    text = (
        "fitten:\n  pool: {max_concurrent: 2}\n  accounts:\n"
        "  - {username: ada, password: correct horse}\n"
        "  - {username: bob, password: correct horse, max_concurrent: 9}\n"
    )
    fitten = files.load(text + KEYS).fitten
    assert [account.max_concurrent for account in fitten.accounts] == [None, 9]
    assert fitten.pool.max_concurrent == 2


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ((), "no account given; at least one is needed"),
        (("ada", "bob", "ada"), "account 3 has the same username as an earlier one"),
    ],
)
def test_accounts_are_at_least_one_and_distinct(
    files: Files, names: tuple[str, ...], complaint: str
) -> None:
    assert files.mistakes(accounts(*names) + KEYS) == [
        f"config.yaml:1: fitten.accounts: {complaint}"
    ]


def test_a_fault_of_the_accounts_is_reported_beside_other_mistakes(files: Files) -> None:
    found = files.mistakes(accounts("ada", "ada") + KEYS + "server: {port: x}\n")
    assert [line.split(": ")[1] for line in sorted(found)] == ["fitten.accounts", "server.port"]


def test_an_open_address_is_reported_beside_other_mistakes(files: Files) -> None:
    found = files.mistakes(FITTEN + "middlewares: []\nserver: {host: 0.0.0.0}\nlog: {level: x}\n")
    assert [line.split(": ")[1] for line in sorted(found)] == ["server.host", "log.level"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_address_needs_no_key(files: Files, host: str) -> None:
    config = files.load(FITTEN + f"middlewares: []\nserver: {{host: '{host}'}}\n")
    assert config.server.host == host
    assert files.load(FITTEN + "middlewares: []\n").listening_on(host=host, port=None)


OUTSIDE = """\
class Silent:
    async def __call__(self, request, handler):
        return await handler(request)


class Declares(Silent):
    authenticates = True
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module outside the tree, with two middlewares."""
    name = "acme_authenticates"
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / f"{name}.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(folder))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gateway.example", "2001:db8::1"])
class TestAnAddressBeyondLoopback:
    def test_is_refused_without_a_key(self, files: Files, host: str) -> None:
        (mistake,) = files.mistakes(
            FITTEN + f"middlewares: [request_id]\nserver:\n  host: '{host}'\n"
        )
        assert mistake.startswith(
            f"config.yaml:4: server.host: {host} can be reached from other machines"
        )
        assert "api_key" in mistake
        assert "server.allow_open: true" in mistake

    def test_is_refused_without_a_key_from_the_command_line_too(
        self, files: Files, host: str
    ) -> None:
        config = files.load(FITTEN + "middlewares: []\n")
        with pytest.raises(ConfigError, match=r"^--host: .*can be reached from other machines"):
            config.listening_on(host=host, port=None)

    def test_is_allowed_with_a_key(self, files: Files, host: str) -> None:
        config = files.load(FITTEN + KEYS + f"server: {{host: '{host}'}}\n")
        assert config.listening_on(host=host, port=80).server.port == 80

    def test_is_allowed_with_a_middleware_of_others_that_declares_it(
        self, files: Files, outside: str, host: str
    ) -> None:
        chain = f"middlewares: ['{outside}:Declares']\n"
        config = files.load(FITTEN + chain + f"server: {{host: '{host}'}}\n")
        assert config.listening_on(host=host, port=80).server.port == 80

    def test_is_refused_with_a_middleware_of_others_that_does_not(
        self, files: Files, outside: str, host: str
    ) -> None:
        chain = f"middlewares: ['{outside}:Silent']\n"
        (mistake,) = files.mistakes(FITTEN + chain + f"server: {{host: '{host}'}}\n")
        assert "server.host" in mistake
        assert "no middleware authenticates requests. Add api_key" in mistake
        with pytest.raises(ConfigError, match=r"^--host: .*can be reached from other machines"):
            files.load(FITTEN + chain).listening_on(host=host, port=None)

    def test_is_allowed_when_the_file_says_so(self, files: Files, host: str) -> None:
        files.load(
            FITTEN + f"middlewares: []\nserver: {{host: '{host}', allow_open: true}}\n"
        ).listening_on(host=host, port=None)


def test_the_command_line_wins_over_the_file(files: Files) -> None:
    config = files.load(CONTRACT, **ENVIRON)
    assert config.listening_on(host=None, port=None) == config
    changed = config.listening_on(host="::1", port=0)
    assert (changed.server.host, changed.server.port) == ("::1", 0)


@pytest.mark.parametrize("port", [-1, 65_536, 700_000])
def test_a_port_of_the_command_line_must_be_one(files: Files, port: int) -> None:
    config = files.load(CONTRACT, **ENVIRON)
    with pytest.raises(ConfigError, match=r"^--port: "):
        config.listening_on(host=None, port=port)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: b: c\n", 1),
        ("server:\n  port: [1\n", 3),
        ("server: {port: 1}\n\tfitten: {}\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: *nobody\n", 1),
        ("a: 1\nb: !!python/name:os.system ''\n", 2),
    ],
)
def test_broken_yaml_is_one_mistake_with_its_line(files: Files, text: str, line: int) -> None:
    (mistake,) = files.mistakes(text)
    assert mistake.startswith(f"config.yaml:{line}: not valid YAML: ")


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]\n", "server: &s {host: *s}\n", "server: {port: 2001-99-99}\n", "a: \0\n"],
    ids=["a list in itself", "a mapping in itself", "no date", "NUL"],
)
def test_odd_yaml_is_a_mistake_and_no_crash(files: Files, text: str) -> None:
    assert files.mistakes(FITTEN + KEYS + text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("server:\n  port: 1\n  port: 2\n", "5: server.port: given twice, again in line 5"),
        ("log: {}\nlog: {}\n", "4: log: given twice, again in line 4"),
        (
            "log: {level: info, level: info}\n",
            "3: log.level: given twice, again in line 3",
        ),
    ],
)
def test_a_key_given_twice_is_a_mistake(files: Files, text: str, says: str) -> None:
    assert files.mistakes(FITTEN + KEYS + text) == [f"config.yaml:{says}"]


@pytest.mark.parametrize("text", ["[]", "text", "1"])
def test_a_file_must_be_a_mapping(files: Files, text: str) -> None:
    assert files.mistakes(text) == [
        "config.yaml:1: expected a mapping with server, stream, fitten, images, tools, models, "
        "limits, log, store, ledger, audit, admin, teams, middlewares"
    ]


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "none" / "none.ini"):
        with pytest.raises(ConfigError, match="cannot be read: ") as caught:
            load_config(path, {})
        assert len(caught.value.mistakes) == 1


def test_a_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"server: \xff")
    with pytest.raises(ConfigError, match="is not text in UTF-8"):
        load_config(tmp_path / "config.yaml", {})


def test_no_mistake_shows_a_secret_in_the_wrong_place(files: Files) -> None:
    text = "fitten: {accounts: correct horse}\nmiddlewares: [{api_key: {keys: team-key-1234}}]\n"
    found = "\n".join(files.mistakes(text))
    assert "correct horse" not in found
    assert "team-key-1234" not in found


@pytest.mark.parametrize(
    "text",
    [
        "fitten: {base_url: 'https://ada:%s@fitten.example/?a'}\n",
        "fitten: {proxy: 'ada:%s@proxy.example'}\n",
        "fitten: {base_url: [%s]}\n",
        "log: {level: %s}\n",
        "log: {level: [%s]}\n",
        "log: {%s: info}\n",
        "%s: {}\n",
        "{password:%s: {}}\n",
        "middlewares: [%s]\n",
        "middlewares: ['api_key:%s']\n",
        "middlewares: [{%s: {}}]\n",
        "fitten: {accounts: [{username: a, password: '${credential:%s}'}]}\n",
        "fitten: {accounts: [{username: a, password: '${file:%s}'}]}\n",
        "fitten: {accounts: [{username: a, password: &%s x}, {b: &%s y}]}\n",
        "fitten: {accounts: [{username: a, password: *%s}]}\n",
        "fitten: {accounts: [{username: a, password: !%s!x y}]}\n",
        "%%%s\n",
    ],
)
def test_no_mistake_quotes_what_may_be_a_secret(files: Files, text: str) -> None:
    found = "\n".join(files.mistakes(text.replace("%s", "canary-of-a/secret")))
    assert "canary-of-a/secret" not in found


def test_no_mistake_quotes_what_a_file_of_secrets_holds(files: Files, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canaryword\n")
    secret.chmod(0o600)
    found = "\n".join(files.mistakes("log: {level: '${file:" + str(secret) + "}'}\n"))
    assert "log.level: '****' is not known" in found


INI = "[Main]\nusername = ada\npassword = 100% ${x\napi_key = team-key-1234\n"


class TestTheIniForm:
    @pytest.mark.parametrize("start", ["", "\ufeff", "; a comment\n\n"])
    def test_means_the_usual_chain_with_one_account_and_one_key(
        self, files: Files, start: str
    ) -> None:
        config = files.load(start + INI, "config.ini")
        account = config.fitten.accounts[0]
        assert (account.username, account.password.value) == ("ada", "100% ${x")
        assert config.server.port == 5000
        whole = files.load(CONTRACT, **ENVIRON).as_data()
        assert config.as_data()["middlewares"] == whole["middlewares"]
        assert "team-key-1234" in config.secrets()

    def test_takes_values_from_the_environment(self, files: Files) -> None:
        text = INI.replace("ada", "${NAME}").replace("100% ${x", "${WORD:-secret}")
        config = files.load(text, "config.ini", NAME="bob")
        assert config.fitten.accounts[0].username == "bob"
        assert config.fitten.accounts[0].password.value == "secret"

    @pytest.mark.parametrize(
        ("text", "mistakes"),
        [
            (
                "[Main]\nusername =\npassword = ${WORD}\nport = 1\n",
                [
                    "1: [Main] api_key: is missing",
                    "2: [Main] username: is missing",
                    "3: [Main] password: the environment variable WORD is not set; set it, or "
                    "write the value here",
                    "4: [Main] port: unknown option; known: username, password, api_key",
                ],
            ),
            (
                "[Other]\na = 1\n",
                [
                    " [Main]: is missing; it has username, password and api_key",
                    "1: [Other]: unknown section; known: [Main], [log]",
                ],
            ),
            ("", [" [Main]: is missing; it has username, password and api_key"]),
            (INI + "[server]\nport = 1\n", ["5: [server]: unknown section; known: [Main], [log]"]),
            (INI + "[DEFAULT]\na = 1\n", ["5: [DEFAULT]: unknown section; known: [Main], [log]"]),
            (INI + "[main]\n", ["5: [main]: is there twice, also as [Main]"]),
            (
                INI + "; a comment\n[log]\nlevel = loud\nfiel = x\n",
                [
                    "7: [log] level: 'loud' is not known; allowed: debug, info, warning, error",
                    "8: [log] fiel: unknown option; did you mean file? "
                    "known: level, format, file, client",
                ],
            ),
            (
                INI.replace("team-key-1234", "your_custom_api_key"),
                [
                    "4: [Main] api_key: is a placeholder or a well-known key, which others can "
                    "guess; make one with: openssl rand -hex 24"
                ],
            ),
            (
                INI.replace("ada", "your_fittentech_username"),
                [
                    "2: [Main] username: is the placeholder of an example; write your own, or "
                    "${NAME} for a variable"
                ],
            ),
            (
                "[Main]\nusername: ada\nPassWord = x y\nkey = a\n",
                [
                    "1: [Main] api_key: is missing",
                    "4: [Main] key: unknown option; did you mean api_key? known: username, "
                    "password, api_key",
                ],
            ),
        ],
    )
    def test_has_all_its_mistakes_reported_at_once(
        self, files: Files, text: str, mistakes: list[str]
    ) -> None:
        found = sorted(files.mistakes(text, "config.ini"))
        assert found == [f"config.ini:{mistake}" for mistake in mistakes]

    @pytest.mark.parametrize("header", ["[Main]", "[main]", "[MAIN]"])
    def test_has_its_section_in_small_or_capital_letters(self, files: Files, header: str) -> None:
        config = files.load(INI.replace("[Main]", header), "config.ini")
        assert config.fitten.accounts[0].username == "ada"

    def test_logs_to_a_file_beside_it_unless_it_says_otherwise(self, files: Files) -> None:
        beside = files.load(INI, "config.ini").log
        assert beside.file == str(files.folder / "fitten_api.log")
        assert (beside.level, beside.format) == ("info", "console")
        other = files.folder / "other.log"
        text = f"{INI}[log]\nlevel = debug\nformat = json\nfile = {other}\n"
        log = files.load(text, "config.ini").log
        assert (log.level, log.format, log.file) == ("debug", "json", str(other))
        assert files.load(INI + "[Log]\nfile =\n", "config.ini").log.file is None

    @pytest.mark.parametrize("text", ["username = ada\n", "[Main]\na = 1\na = 2\n", "[Main\n"])
    def test_must_be_an_ini_file(self, files: Files, text: str) -> None:
        (mistake,) = files.mistakes(text, "config.ini")
        assert "not a valid INI file: " in mistake
        assert "\n" not in mistake

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("canary = a\n", "1: not a valid INI file: text before the first [section]"),
            ("[Main]\ncanary\n", "2: not a valid INI file: neither a [section] nor name = value"),
            (
                "[Main]\ncanary = 1\ncanary = 2\n",
                "3: not a valid INI file: an option is given a second time",
            ),
            ("[canary]\n[canary]\n", "2: not a valid INI file: a section is there a second time"),
        ],
    )
    def test_has_its_broken_line_named_and_not_quoted(
        self, files: Files, text: str, says: str
    ) -> None:
        assert files.mistakes(text, "config.ini") == [f"config.ini:{says}"]


@pytest.mark.parametrize(
    ("environ", "path"),
    [({}, "state/fitten.json"), ({"STATE_DIRECTORY": "/srv/a:/srv/b"}, "/srv/a/fitten.json")],
)
def test_tokens_are_kept_in_the_state_directory(
    files: Files, monkeypatch: pytest.MonkeyPatch, environ: dict[str, Any], path: str
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert files.load(FITTEN + KEYS).state_file == Path(path)


def test_the_longest_pattern_that_fits_decides_the_notation(files: Files) -> None:
    notation = '{"deepseek-*": hybrid, "deepseek-v3": json}'
    tools = files.load(FITTEN + KEYS + f"tools: {{notation: {notation}}}\n").tools
    found = [tools.notation_of(model) for model in ("fitten-code", "DeepSeek R1", "deepseek-v3")]
    assert found == ["auto", "hybrid", "json"]


def test_nothing_is_recorded_unless_there_is_a_folder(files: Files, tmp_path: Path) -> None:
    assert files.load(FITTEN + KEYS).tools.recorder.folder is None
    folder = tmp_path / "new" / "records"
    recorder = files.load(FITTEN + KEYS + f"tools: {{recorder: {{folder: {folder}}}}}\n").tools
    assert (recorder.recorder.folder, recorder.recorder.days) == (str(folder), 7)
    assert not folder.parent.exists()  # reading the settings creates nothing


@pytest.mark.parametrize(
    ("notation", "mistake"),
    [
        (
            '{"*": xml}',
            "tools.notation.*: 'xml' is not known; allowed: auto, hybrid, json",
        ),
        ("[auto]", "tools.notation: expected a mapping, not a list"),
    ],
)
def test_a_wrong_notation_is_named(files: Files, notation: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as error:
        files.load(FITTEN + KEYS + f"tools: {{notation: {notation}}}\n")
    assert any(mistake in line for line in error.value.mistakes), error.value.mistakes


@pytest.mark.parametrize("name", ["remind", "stop"])
def test_a_loop_begins_with_the_third_call(files: Files, name: str) -> None:
    loop = files.load(FITTEN + KEYS + f"tools: {{loop: {{{name}: 3}}}}\n").tools.loop
    assert (loop.remind, loop.stop) == ((3, None) if name == "remind" else (None, 3))
    for wrong in ("2", "0", "true", "3.5"):
        with pytest.raises(ConfigError) as error:
            files.load(FITTEN + KEYS + f"tools: {{loop: {{{name}: {wrong}}}}}\n")
        (mistake,) = error.value.mistakes
        assert f"tools.loop.{name}: " in mistake


@pytest.mark.parametrize(
    ("url", "file"),
    [
        (None, "{folder}/state/team.db"),
        ("none", None),
        ("sqlite:///var/team.db", "{folder}/var/team.db"),
        ("sqlite:////srv/team.db", "/srv/team.db"),
    ],
)
def test_the_store_is_beside_the_state_or_relative_to_the_file(
    files: Files, url: str | None, file: str | None, tmp_path: Path
) -> None:
    store = "" if url is None else f"store: {{url: '{url}'}}\n"
    state = FITTEN.replace("{", f"{{state_file: {tmp_path}/state/fitten.json, ", 1)
    config = files.load(f"{state}{store}middlewares: []\n")
    expected = None if file is None else Path(file.format(folder=tmp_path))
    assert config.store_file == expected


@pytest.mark.parametrize(
    "url",
    ["team.db", "sqlite://team.db", "sqlite:///", "sqlite:////", "postgres://db", "sqlite:///a?b"],
)
def test_another_address_of_the_store_is_a_mistake(files: Files, url: str) -> None:
    (mistake,) = files.mistakes(f"{FITTEN}store: {{url: '{url}'}}\nmiddlewares: []\n")
    assert "store.url: expected none, or an address like sqlite:///var/team.db" in mistake
