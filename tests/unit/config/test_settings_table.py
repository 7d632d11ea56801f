"""Wrong configurations, as people write them: the line, the exit status and the sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gateway.cli import main

ACCOUNT = "fitten: {accounts: [{username: ada, password: correct horse}]}\n"
CHAIN = "middlewares: [{api_key: {keys: [{name: a, key: team-key-0123456789}]}}]\n"
GOOD = ACCOUNT + CHAIN
KEY = "{name: a, key: team-key-0123456789}"


def account(username: str = "ada", password: str = "correct horse") -> str:
    return f"fitten:\n  accounts:\n  - username: {username}\n    password: {password}\n" + CHAIN


def fitten(options: str) -> str:
    return (
        f"fitten:\n  accounts: [{{username: ada, password: correct horse}}]\n  {options}\n{CHAIN}"
    )


def records(folder: str) -> str:
    return GOOD + f"tools: {{recorder: {{folder: {folder}}}}}\n"


def keys(*items: str) -> str:
    return (
        ACCOUNT + "middlewares:\n- api_key:\n    keys:\n" + "".join(f"    - {i}\n" for i in items)
    )


def key(text: str) -> str:
    return keys(f"{{name: a, key: {text}}}")


def origin(text: str) -> str:
    return GOOD.replace("[{api", f"[{{cors: {{allow_origins: [{text}]}}}}, {{api")


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


CORS = "middlewares[0].cors.allow_origins[0]: is not an origin that browsers send, such as " + (
    "https://chat.example.org: "
)
KEY_PLACE = "middlewares[0].api_key.keys[0].key: "
MAKE_ONE = "make one with: openssl rand -hex 24"
WELL_KNOWN = f"is a placeholder or a well-known key, which others can guess; {MAKE_ONE}"
WELL_KNOWN_DIGEST = f"is the digest of a well-known key, or an example; {MAKE_ONE}"
PLACEHOLDER = "is the placeholder of an example; write your own, or ${NAME} for a variable"
SHELL = (
    "looks like a variable of the shell, which is not replaced; write ${NAME}, or ${NONE:-$NAME} "
    "for the text $NAME itself"
)
FORMS = (
    "${...} must be ${NAME}, ${NAME:-default}, ${credential:NAME} or ${file:/path}; write $${ for "
    "the characters ${"
)
KNOWN_MIDDLEWARES = "known: api_key, cors, rate_limit, request_id, request_log"
NOT_YAML = "not valid YAML: "
INDENTED = (
    "the line is indented differently from those before it, or the text before it has not ended"
)
COLON = (
    "there is a second ': ' in a line, or a wrong indentation; put the text in quotes if it has a "
    "colon"
)

# The name of a case, the file, the line, and the beginning of the sentence.
TABLE: list[tuple[str, str, int, str]] = [
    # YAML
    ("a tab", GOOD + "server:\n\tport: 1\n", 4, NOT_YAML + "a line is indented with a tab; use"),
    ("a later tab", GOOD + "server:\n  port: 1\n\tworkers: 2\n", 5, NOT_YAML + "a line is indent"),
    ("two colons", GOOD + "log:\n  file: a: b\n", 4, NOT_YAML + COLON),
    ("deeper", GOOD + "log:\n  level: info\n   file: x\n", 5, NOT_YAML + COLON),
    ("less deep", GOOD + "server:\n  port: 1\n workers: 2\n", 5, NOT_YAML + INDENTED),
    ("text after a quote", GOOD + "log:\n  file: 'a' b\n", 4, NOT_YAML + INDENTED),
    ("no }", GOOD + "server: {port: 1\n", 4, NOT_YAML + "a '}' or a comma is missing"),
    ("no ]", GOOD + "server: {trusted_proxies: [a}\n", 3, NOT_YAML + "a ']' or a comma is missing"),
    ("an open quote", GOOD + "log:\n  file: 'x\nserver: {}\n", 4, NOT_YAML + "a quote is opened h"),
    ("an open quote in {}", GOOD + 'log: {file: "x}\n\n', 3, NOT_YAML + "a quote is opened here"),
    ("a backslash", GOOD + 'log: {file: "C:\\gate"}\n', 3, NOT_YAML + "a backslash in double quo"),
    ("an at sign", GOOD + "log:\n  file: @x\n", 4, NOT_YAML + "text cannot begin with @ or `; put"),
    ("a percent sign", GOOD + "log:\n  file: %x\n", 4, NOT_YAML + "text cannot begin with %; put "),
    ("a star", account(password="*secret"), 4, NOT_YAML + "* refers to an anchor that does not ex"),
    ("an ampersand", account(password="& x"), 4, NOT_YAML + "text cannot begin with & or *; put "),
    ("an exclamation mark", account(password="!a b"), 4, NOT_YAML + "text cannot begin with !, wh"),
    ("a second document", GOOD + "---\nlog: {}\n", 3, NOT_YAML + "'---' begins a second document"),
    (
        "no space",
        GOOD + "server:\n  port: 1\n  workers:2\n",
        6,
        NOT_YAML + "a name without ': ' af",
    ),
    ("a control character", GOOD + "log: {file: \x07}\n", 3, NOT_YAML + "a control character"),
    ("a brace too many", GOOD + "log: {}}\n", 3, NOT_YAML + INDENTED),
    ("half a character", account('"a\\ud83d"'), 3, "fitten.accounts[0].username: has half of a c"),
    (
        "no mapping",
        "- server\n",
        1,
        "expected a mapping with server, stream, fitten, images, tools,",
    ),
    ("a merge of nothing", GOOD + "server: {<<: 5}\n", 3, "server: << needs a mapping, such as *n"),
    (
        "a merged mistake",
        GOOD + "server: {<<: {port: 70000}}\n",
        3,
        "server.port: 70000 is out of bounds; allowed: 0 to 65535",
    ),
    ("given twice", GOOD + "server:\n  port: 1\n  port: 2\n", 5, "server.port: given twice, again"),
    # Names
    (
        "a misspelt option",
        GOOD + "server:\n  prot: 1\n",
        4,
        "server.prot: unknown option; did you mean port? known: host, port,",
    ),
    (
        "a misspelt section",
        GOOD + "sever: {}\n",
        3,
        "sever: unknown option; did you mean server? known: server, stream,",
    ),
    ("a large letter", GOOD + "Server: {}\n", 3, "Server: unknown option; did you mean server? k"),
    (
        "an option outside",
        GOOD + "log:\nlevel: info\n",
        4,
        "level: is an option of log; indent it under log:",
    ),
    (
        "a misspelt value",
        GOOD + "log: {level: warn}\n",
        3,
        "log.level: 'warn' is not known; did you mean warning? allowed: debug, info, warning, err",
    ),
    ("off", GOOD + "log: {level: off}\n", 3, "log.level: false (as yes, no, on and off are read"),
    (
        "a misspelt option of an account",
        GOOD.replace("username", "user"),
        1,
        "fitten.accounts[0].user: unknown option; did you mean username? known: username, passwor",
    ),
    # Types and units
    (
        "a unit",
        GOOD + "stream: {grace: 3s}\n",
        3,
        "stream.grace: expected a number of seconds, e.g. 30, not text",
    ),
    (
        "a unit of bytes",
        GOOD + "server: {max_body_bytes: 20MB}\n",
        3,
        "server.max_body_bytes: expected a whole number of bytes, e.g. 20971520, not text",
    ),
    (
        "out of bounds",
        GOOD + "stream: {grace: 0}\n",
        3,
        "stream.grace: 0 is out of bounds; allowed: 0.01 to 86400 seconds",
    ),
    ("a port of base 60", GOOD + "server: {port: 5:00}\n", 3, "server.port: expected a whole numb"),
    (
        "a number as a password",
        account(password="0123"),
        4,
        "fitten.accounts[0].password: expected text, not a number (write it in quotes if it is te",
    ),
    (
        "yes as a password",
        account(password="yes"),
        4,
        "fitten.accounts[0].password: expected text, not true or false (write it in quotes if it",
    ),
    ("no password", account(password=""), 4, "fitten.accounts[0].password: expected text, not no"),
    ("an empty password", account(password="''"), 4, "fitten.accounts[0].password: must not be em"),
    (
        "an account without a dash",
        "fitten:\n  accounts:\n    username: ada\n    password: correct horse\n" + CHAIN,
        2,
        "fitten.accounts: expected a list, not a mapping; begin each item with '- '",
    ),
    ("no account", "fitten:\n" + CHAIN, 1, "fitten.accounts: is missing"),
    (
        "an empty list of accounts",
        "fitten: {accounts: []}\n" + CHAIN,
        1,
        "fitten.accounts: no account given; at least one is needed",
    ),
    # Variables and placeholders
    (
        "a shell variable",
        account(password="$FITTEN_PASSWORD"),
        4,
        "fitten.accounts[0].password: " + SHELL,
    ),
    (
        "a Windows variable",
        account("'%FITTEN_USERNAME%'"),
        3,
        "fitten.accounts[0].username: " + SHELL,
    ),
    ("a shell default", account(password="${A-B}"), 4, "fitten.accounts[0].password: " + FORMS),
    ("a shell error", account(password='"${A:?no}"'), 4, "fitten.accounts[0].password: " + FORMS),
    (
        "a variable that is not set",
        account("${NOT_SET_ANYWHERE}"),
        3,
        "fitten.accounts[0].username: the environment variable NOT_SET_ANYWHERE is not set; set it",
    ),
    ("three dots", account("..."), 3, "fitten.accounts[0].username: " + PLACEHOLDER),
    (
        "three dots as a password",
        account(password='"..."'),
        4,
        "fitten.accounts[0].password: " + PLACEHOLDER,
    ),
    (
        "a placeholder of the original program",
        account("your_fittentech_username"),
        3,
        "fitten.accounts[0].username: " + PLACEHOLDER,
    ),
    (
        "angle brackets",
        account(password="<password>"),
        4,
        "fitten.accounts[0].password: " + PLACEHOLDER,
    ),
    # Keys
    ("an empty key", key("''"), 5, KEY_PLACE + "must not be empty"),
    (
        "a blank after a key",
        key("'team-key-0123456789 '"),
        5,
        KEY_PLACE + "has a blank or a line e",
    ),
    ("a line end", key('"team-key-0123456789\\n"'), 5, KEY_PLACE + "has a blank or a line end bef"),
    ("a blank in a key", key("team key 0123456789"), 5, KEY_PLACE + "has a blank or a control ch"),
    ("a bell in a key", key('"team-key-\\a-456789"'), 5, KEY_PLACE + "has a blank or a control ch"),
    ("changeme", key("ChangeMe"), 5, KEY_PLACE + WELL_KNOWN),
    ("the demo's key", key("fg-demo-key"), 5, KEY_PLACE + WELL_KNOWN),
    ("dots", key("'...'"), 5, KEY_PLACE + WELL_KNOWN),
    ("sk-xxx", key("sk-xxxxxxxxxxxxxxxxxxxxxxx"), 5, KEY_PLACE + WELL_KNOWN),
    ("your key", key("YOUR_API_KEY"), 5, KEY_PLACE + WELL_KNOWN),
    ("a masked key", key("'****'"), 5, KEY_PLACE + WELL_KNOWN),
    ("the digest of test", key(digest("test")), 5, KEY_PLACE + WELL_KNOWN_DIGEST),
    ("the digest of nothing", key(digest("")), 5, KEY_PLACE + WELL_KNOWN_DIGEST),
    ("a digest of zeros", key(f"sha256:{'0' * 64}"), 5, KEY_PLACE + WELL_KNOWN_DIGEST),
    ("half a digest", key("sha256:0123"), 5, KEY_PLACE + "sha256: must be followed by the 64 hexa"),
    (
        "no list of keys",
        ACCOUNT + "middlewares:\n- api_key:\n    keys: team-key-0123456789\n",
        4,
        "middlewares[0].api_key.keys: expected a list, not text; begin each item with '- '",
    ),
    # Middlewares
    (
        "a misspelt middleware",
        ACCOUNT + "middlewares:\n- request_id\n- request_logs\n",
        4,
        f"middlewares[1].request_logs: no such middleware; did you mean request_log? "
        f"{KNOWN_MIDDLEWARES}. Others are middlewares/request_logs.py beside the configuration",
    ),
    (
        "options beside their middleware",
        ACCOUNT + "middlewares:\n- cors:\n  allow_origins: []\n",
        3,
        "middlewares[0]: indent allow_origins two more spaces, to be options of cors",
    ),
    ("no list", ACCOUNT + "middlewares:\n  cors: {}\n", 2, "middlewares: expected a list of middl"),
    ("no middlewares", ACCOUNT + "middlewares:\n", 2, "middlewares: is missing; see config.yaml"),
    (
        "a missing option",
        ACCOUNT + "middlewares:\n- rate_limit\n",
        3,
        "middlewares[0].rate_limit.requests_per_minute: is missing",
    ),
    (
        "a team that is not there",
        GOOD.replace("name: a,", "name: a, team: wbe,") + "teams: [{name: web}]\n",
        2,
        "middlewares[0].api_key.keys[0].team: no team 'wbe' in teams; did you mean web? known: web",
    ),
    (
        "a team and no teams",
        GOOD.replace("name: a,", "name: a, team: web,"),
        2,
        "middlewares[0].api_key.keys[0].team: no team 'web' in teams; there are none; add it to",
    ),
    (
        "a team twice",
        GOOD + "teams: [{name: a}, {name: b}, {name: a}]\n",
        3,
        "teams: team 3 has the same name as an earlier one",
    ),
    ("a team without a name", GOOD + "teams: [{concurrency: 3}]\n", 3, "teams[0].name: is missing"),
    (
        "two limits for one name",
        keys(
            "{name: a, key: team-key-0123456789, concurrency: 3}",
            "{name: a, key: team-key-9876543210, concurrency: 4}",
        ),
        6,
        "middlewares[0].api_key.keys[1].name: has a team, limits, models or routes other than",
    ),
    (
        "a misspelt limit",
        GOOD + "limits: {token_per_day: 5}\n",
        3,
        "limits.token_per_day: unknown option; did you mean tokens_per_day? known: chats_per_min",
    ),
    (
        "a limit with another letter",
        GOOD + "limits: {tokens_per_day: 5g}\n",
        3,
        "limits.tokens_per_day: expected a whole number, not text; write it like 600, 500k or 1.5m",
    ),
    (
        "a limit of half a token",
        GOOD + "limits: {tokens_per_day: 0.0005k}\n",
        3,
        "limits.tokens_per_day: expected a whole number, not text; write it like 600, 500k or 1.5m",
    ),
    (
        "a limit below zero",
        GOOD + "limits: {chats_per_minute: -1}\n",
        3,
        "limits.chats_per_minute: -1 is out of bounds; allowed: 0 to 100000",
    ),
    (
        "a rate that needs too much memory",
        GOOD + "limits: {chats_per_minute: 1m}\n",
        3,
        "limits.chats_per_minute: 1000000 is out of bounds; allowed: 0 to 100000",
    ),
    (
        "an endless line",
        GOOD + "limits: {queue_wait: 601}\n",
        3,
        "limits.queue_wait: 601 is out of bounds; allowed: 0 to 600 seconds",
    ),
    (
        "a misspelt time zone",
        GOOD + "server: {time_zone: Asia/Shangai}\n",
        3,
        "server.time_zone: 'Asia/Shangai' is not a time zone such as Asia/Shanghai; did you mean",
    ),
    (
        "a header that is none",
        ACCOUNT + "middlewares:\n- request_id: {header: 请求}\n",
        3,
        "middlewares[0].request_id.header: is not the name of a header",
    ),
    ("a wildcard", origin("'https://*.a.example'"), 2, CORS + "only '*' alone allows several"),
    ("an origin with a path", origin("https://a.example/x"), 2, CORS + "it has no path, query, na"),
    ("an origin in large letters", origin("HTTPS://A"), 2, CORS + "write it in small letters"),
    ("the usual port", origin("'https://a:443'"), 2, CORS + "remove :443, since browsers leave ou"),
    ("an origin without a scheme", origin("a.example"), 2, CORS + "begin it with https:// or htt"),
    # Addresses
    ("an address in brackets", GOOD + "server: {host: '[::1]'}\n", 3, "server.host: write an IPv6"),
    ("a list as an address", GOOD + "server: {host: [::1]}\n", 3, NOT_YAML + "write an IPv6 addre"),
    ("::", GOOD + "server:\n  host: ::\n", 4, NOT_YAML + "write an IPv6 address in quotes and wit"),
    (
        "a host with a port",
        GOOD + "server: {host: 'localhost:5000'}\n",
        3,
        "server.host: expected ",
    ),
    (
        "another machine's address",
        GOOD + "server: {host: 198.51.100.7}\n",
        3,
        "server.host: 198.51.100.7 is not an address of this machine; 127.0.0.1 is",
    ),
    (
        "a name of nobody",
        GOOD + "server: {host: nowhere.invalid}\n",
        3,
        "server.host: nowhere.invalid is neither an address nor a name that this machine can res",
    ),
    (
        "an open gateway",
        ACCOUNT + "middlewares: []\nserver: {host: 0.0.0.0}\n",
        3,
        "server.host: 0.0.0.0 can be reached from other machines, and no middleware authenticates",
    ),
    ("no scheme", fitten("base_url: fc.example"), 3, "fitten.base_url: 'fc.example' is not an add"),
    ("a wrong port", fitten("base_url: 'http://a:99999'"), 3, "fitten.base_url: 'http://a:99999'"),
    ("a SOCKS proxy", fitten("proxy: socks5://a:1080"), 3, "fitten.proxy: **** is not an address"),
    ("a colon in a name", fitten("proxy: 'http://a%3Ab:c@d'"), 3, "fitten.proxy: the user name in"),
    ("beyond Latin-1", fitten("proxy: 'http://a:密@d'"), 3, "fitten.proxy: the password in the ad"),
    (
        "no network",
        GOOD + "server: {trusted_proxies: [all]}\n",
        3,
        "server.trusted_proxies[0]: 'al",
    ),
    # Files
    ("no CA file", fitten("ca_file: /none/ca.pem"), 3, "fitten.ca_file: cannot be read: No such"),
    ("no CA in a file", fitten("ca_file: /dev/null"), 3, "fitten.ca_file: has no certificates in "),
    ("no folder of the log", GOOD + "log: {file: /none/a}\n", 3, "log.file: cannot be written: th"),
    ("a folder for a log", GOOD + "log: {file: /tmp}\n", 3, "log.file: is a folder, not a file"),
    ("a device for tokens", fitten("state_file: /dev/null"), 3, "fitten.state_file: is not a file"),
    ("tokens in a file", fitten("state_file: /dev/null/x"), 3, "fitten.state_file: cannot be writ"),
    ("records in a file", records("/dev/null"), 3, "tools.recorder.folder: is not a folder"),
    ("records nowhere", records("/dev/null/x"), 3, "tools.recorder.folder: cannot be written: /d"),
    ("records for all", records("/tmp"), 3, "tools.recorder.folder: is open to other users, and"),
    (
        "no room",
        GOOD + "tools: {budget: 9}\n",
        3,
        "tools.budget: 9 is out of bounds; all",
    ),
    ("no days", GOOD + "tools: {recorder: {days: 0}}\n", 3, "tools.recorder.days: 0 is out of bou"),
    ("few bytes", GOOD + "tools: {recorder: {max_bytes: 9}}\n", 3, "tools.recorder.max_bytes: 9 "),
    ("a NUL", GOOD + 'log: {file: "a\\0"}\n', 3, "log.file: has a NUL character"),
    (
        "no credential",
        account(password='"${credential:none}"'),
        4,
        "fitten.accounts[0].password: t",
    ),
    ("a relative secret", account(password='"${file:a}"'), 4, "fitten.accounts[0].password: ${fil"),
]


def test_the_table_is_large_and_its_names_are_distinct() -> None:
    assert len(TABLE) == len({name for name, *_ in TABLE}) >= 60


@pytest.mark.parametrize(
    ("text", "line", "says"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_a_wrong_configuration_exits_2_with_its_line_and_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, line: int, says: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    assert main(["check", "--config", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"\n  {path}:{line}: {says}" in printed.err


ENCODINGS = [
    ("gbk", 2, "is text in GBK, not in UTF-8; convert it: iconv -f GB18030 -t UTF-8 config.yaml"),
    ("utf-16", 1, "is text in UTF-16, not in UTF-8; convert it: iconv -f UTF-16 -t UTF-8 config"),
    ("utf-16-le", 1, "is text in UTF-16, not in UTF-8"),
    ("utf-16-be", 1, "is text in UTF-16, not in UTF-8"),
]


@pytest.mark.parametrize(("encoding", "line", "says"), ENCODINGS)
def test_a_file_in_another_encoding_is_named_with_the_command_that_converts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str, line: int, says: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(("# my gateway\n" + account("阿达")).replace("ada", "阿达").encode(encoding))
    assert main(["check", "--config", str(path)]) == 2
    line = 4 if encoding == "gbk" else line
    assert f"\n  {path}:{line}: {says}" in capsys.readouterr().err


def test_a_file_in_latin_1_has_its_line_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"log: {}\n# caf\xe9 au lait\n")
    assert main(["check", "--config", str(path)]) == 2
    assert f"\n  {path}:2: is not text in UTF-8" in capsys.readouterr().err


def test_the_same_key_under_two_names_is_a_mistake_in_both_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    plain = "team-key-0123456789"
    path.write_text(
        keys(
            f"{{name: alice, key: {plain}}}",
            "{name: bob, key: team-key-abcdefghij}",
            f"{{name: carol, key: '{digest(plain)}'}}",
        )
    )
    assert main(["check", "--config", str(path)]) == 2
    printed = capsys.readouterr().err
    says = "is also the key of keys[{}], which has another name"
    assert f"{path}:5: middlewares[0].api_key.keys[0].key: {says.format(2)}" in printed
    assert f"{path}:7: middlewares[0].api_key.keys[2].key: {says.format(0)}" in printed
    assert plain not in printed


WARNINGS = [
    ("a short key", key("team-key-1"), 5, KEY_PLACE + "has only 10 characters, so it can be gues"),
    ("a key beyond ASCII", key("密钥-0123456789-0123456789"), 5, KEY_PLACE + "has characters bey"),
    ("no middlewares", ACCOUNT + "middlewares: []\n", 2, "middlewares: is empty: nobody is asked"),
    (
        "a log before the id",
        ACCOUNT + f"middlewares:\n- request_log\n- request_id\n- api_key: {{keys: [{KEY}]}}\n",
        3,
        "middlewares[0].request_log: is before request_id: the line of a request has no id; move",
    ),
    (
        "a limit before the key",
        ACCOUNT
        + "middlewares:\n- rate_limit: {requests_per_minute: 60}\n"
        + f"- api_key: {{keys: [{KEY}]}}\n",
        3,
        "middlewares[0].rate_limit: is before api_key: requests are counted by address, not by",
    ),
]


@pytest.mark.parametrize(("text", "line", "says"), [w[1:] for w in WARNINGS])
def test_what_is_probably_not_meant_is_a_warning_and_the_exit_is_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, line: int, says: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    assert main(["check", "--config", str(path)]) == 0
    assert capsys.readouterr().err.startswith(f"Warning: {path}:{line}: {says}")


@pytest.mark.parametrize(
    "text",
    [
        GOOD + "server:\nstream:\nimages:\nlog:\n",
        fitten("timeouts:\n  pool:\n  completion:"),
        GOOD + "server: {<<: {port: 1}, port: 2}\n",
        GOOD + "server: {host: '::', port: 0}\n",
        GOOD + "server: {host: localhost}\n",
        GOOD + "teams:\nlimits: {tokens_per_day: null, concurrency: '3', tokens_per_7d: 1.5M}\n",
        GOOD.replace("name: a,", "name: a, team: web,") + "teams: [{name: web}]\n",
        GOOD + "server: {time_zone: Asia/Kathmandu}\n",
        keys(
            "{name: a, key: team-key-0123456789, concurrency: 3}",
            "{name: a, key: team-key-9876543210}",
        ),
        "fitten:\n  accounts:\n  - &first {username: ada, password: correct horse}\n"
        "  - {<<: *first, username: bob}\n" + CHAIN,
        CHAIN.replace("[{api", "[request_id, request_log, {cors: {allow_origins: []}}, {api")
        + ACCOUNT,
    ],
)
def test_a_good_configuration_has_no_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    assert main(["check", "--config", str(path)]) == 0
    assert capsys.readouterr().err == ""


def test_a_password_in_an_address_is_masked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(fitten("base_url: http://ada:hidden-word@fitten.example:8080/x"))
    assert main(["check", "--config", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "http://ada:****@fitten.example:8080/x" in printed
    assert "hidden-word" not in printed
