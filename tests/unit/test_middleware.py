"""The loader: where it looks for a name, and what its mistakes say; who sent a request."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.limits.names import LIMIT_NAMES
from gateway.middleware import (
    KEY_NAME,
    PRINCIPAL,
    MiddlewareEntry,
    principal_of,
    read_middlewares,
    set_principal,
)
from gateway.options import Mistakes, Secret
from gateway.principal import Principal

MODULE = """\
from __future__ import annotations

from gateway import Secret


class Audit:
    def __init__(self, *, path: str, word: Secret, depth: int = 3) -> None:
        self.options = (path, word, depth)

    async def __call__(self, request, handler):
        return await handler(request)


def plain():
    async def middleware(request, handler):
        return await handler(request)

    return middleware


number = 5
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules outside the tree."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    (tmp_path / "acme_audit.py").write_text(MODULE)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("acme_"):
            del sys.modules[name]


def install(folder: Path, entry_points: str) -> None:
    """What an installer leaves behind for a distribution that has entry points."""
    info = folder / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    importlib.invalidate_caches()


def good(data: Any) -> tuple[MiddlewareEntry, ...]:
    mistakes = Mistakes()
    middlewares = read_middlewares(data, "middlewares", mistakes)
    assert mistakes == {}
    return middlewares


def bad(data: Any) -> Mistakes:
    mistakes = Mistakes()
    read_middlewares(data, "middlewares", mistakes)
    return mistakes


def test_a_name_is_a_file_of_middlewares() -> None:
    (middleware,) = good(["request_id"])
    assert middleware.name == "request_id"
    assert middleware.factory.__module__ == "middlewares.request_id"
    assert middleware.options == {"header": "x-request-id"}
    assert callable(middleware.build())


def test_every_bundled_middleware_is_found_by_its_file_name() -> None:
    folder = Path(__file__).parents[2] / "middlewares"
    names = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    assert len(names) >= 5
    for name in names:
        assert all(": no such" not in text for text in bad([name]).values())
        assert f"middlewares[0].{name}" not in bad([name])


def test_the_order_is_that_of_the_list() -> None:
    names = ["rate_limit", "request_id", "cors", "request_log", "request_id"]
    options: dict[str, Any] = {
        "rate_limit": {"requests_per_minute": 1},
        "cors": {"allow_origins": []},
    }
    chain = [{name: options[name]} if name in options else name for name in names]
    assert [middleware.name for middleware in good(chain)] == names


def test_a_dotted_path_names_a_factory_anywhere(plugins: Path) -> None:
    (middleware,) = good([{"acme_audit:Audit": {"path": "/var/log/audit", "word": "hidden"}}])
    assert middleware.options == {"path": "/var/log/audit", "word": Secret("hidden"), "depth": 3}
    built: Any = middleware.build()
    assert built.options == ("/var/log/audit", Secret("hidden"), 3)
    assert good(["acme_audit:plain"])[0].options == {}


@pytest.mark.parametrize("name", ["acme", "acme_tools", "acme-audit", "acme.audit"])
def test_an_entry_point_is_found_by_its_name(plugins: Path, name: str) -> None:
    install(plugins, f"[gateway.middlewares]\n{name} = acme_audit:plain\n")
    (middleware,) = good([name])
    assert middleware.name == name
    assert middleware.factory.__module__ == "acme_audit"


def test_a_bundled_middleware_wins_over_an_entry_point(plugins: Path) -> None:
    install(plugins, "[gateway.middlewares]\nrequest_id = acme_audit:plain\n")
    assert good(["request_id"])[0].factory.__module__ == "middlewares.request_id"


def test_an_entry_point_of_another_group_is_not_taken(plugins: Path) -> None:
    install(plugins, "[console_scripts]\nacme = acme_audit:plain\n")
    assert "no such middleware" in bad(["acme"])["middlewares[0].acme"]


def test_an_unknown_name_is_reported_with_the_places_that_were_looked_at() -> None:
    assert bad(["request_id", {"requestid": None}]) == {
        "middlewares[1].requestid": "no such middleware; did you mean request_id? known: api_key, "
        "cors, rate_limit, request_id, request_log. Others are middlewares/requestid.py beside the "
        "configuration, an entry point of the group gateway.middlewares, or package.module:factory"
    }


@pytest.mark.parametrize(
    ("options", "path", "says"),
    [
        ({"reqs": 5, "requests_per_minute": 5}, ".reqs", "unknown option; known: "),
        ({}, ".requests_per_minute", "is missing"),
        (None, ".requests_per_minute", "is missing"),
        ({"requests_per_minute": "x"}, ".requests_per_minute", "expected a whole number"),
        ({"requests_per_minute": 0}, ".requests_per_minute", "0 is out of bounds"),
        ([5], "", "expected a mapping, not a list"),
        (5, "", "expected a mapping, not a number"),
    ],
)
def test_a_mistaken_option_is_reported_with_its_path(options: Any, path: str, says: str) -> None:
    chain = ["request_id", "request_log", {"cors": {"allow_origins": []}}, {"rate_limit": options}]
    mistakes = bad(chain)
    assert list(mistakes) == [f"middlewares[3].rate_limit{path}"]
    assert mistakes[f"middlewares[3].rate_limit{path}"].startswith(says)


def test_a_misspelt_option_is_reported_with_the_known_names() -> None:
    mistakes = bad([{"rate_limit": {"reqs": 1, "requests_per_minute": 1}}])
    known = mistakes["middlewares[0].rate_limit.reqs"].removeprefix("unknown option; known: ")
    assert known.split(", ") == [
        "requests_per_minute",
        *(name for name in LIMIT_NAMES if name != "chats_per_minute"),
        "max_callers",
    ]


def test_all_mistaken_options_are_reported_at_once() -> None:
    chain = [
        {"api_key": {"keys": [{"name": 1}, {"nmae": "a", "key": "sha256:1"}]}},
        {"cors": {"allow_origins": "https://a.example"}},
        "nobody",
        {"request_log": {"prompts": True}},
    ]
    assert set(bad(chain)) == {
        "middlewares[0].api_key.keys[0].name",
        "middlewares[0].api_key.keys[0].key",
        "middlewares[0].api_key.keys[1].nmae",
        "middlewares[0].api_key.keys[1].name",
        "middlewares[0].api_key.keys[1].key",
        "middlewares[1].cors.allow_origins",
        "middlewares[2].nobody",
        "middlewares[3].request_log.prompts",
    }


@pytest.mark.parametrize("data", [{}, "request_id", 5, {"request_id": None}])
def test_the_chain_must_be_a_list(data: Any) -> None:
    assert bad(data) == {"middlewares": "expected a list of middlewares; begin each with '- '"}


@pytest.mark.parametrize("item", [5, None, [], {}, {"cors": {}, "request_id": {}}, True])
def test_an_item_must_be_a_name_or_one_name_with_options(item: Any) -> None:
    assert bad([item]) == {"middlewares[0]": "expected a name, or one name with its options"}


@pytest.mark.parametrize(
    "name",
    [
        "acme_none:Audit",
        "acme_audit:Nobody",
        "acme_audit:number",
        "acme_audit:",
        ":factory",
        ":",
        ".acme_audit:plain",
        "acme..audit:plain",
        "acme_syntax:plain",
        "acme_raises:plain",
        "acme_hints:plain",
        "../etc:plain",
        "__init__",
        "__main__",
        "",
    ],
)
def test_what_cannot_be_loaded_is_a_mistake_and_no_crash(plugins: Path, name: str) -> None:
    (plugins / "acme_syntax.py").write_text("def plain(:\n")
    (plugins / "acme_raises.py").write_text("raise RuntimeError('not today')\n")
    (plugins / "acme_hints.py").write_text("def plain(*, a: 'Nowhere') -> None: ...\n")
    assert list(bad([name])) == [f"middlewares[0].{name}"]


def test_an_import_that_fails_inside_a_plugin_names_what_is_missing(plugins: Path) -> None:
    (plugins / "acme_needs.py").write_text("import acme_nowhere\n")
    assert "acme_nowhere" in bad(["acme_needs:plain"])["middlewares[0].acme_needs:plain"]


AUTHENTICATING = """\
from middlewares.api_key import api_key


class Declares:
    authenticates = True

    async def __call__(self, request, handler):
        return await handler(request)


class Inherits(Declares):
    pass


class Takes_it_back(Declares):
    authenticates = False


class Has_a_method(Declares):
    def authenticates(self, request):
        return True


class Has_a_property(Declares):
    @property
    def authenticates(self):
        return True


class Says_one(Declares):
    authenticates = 1


class Only_the_object(Declares):
    authenticates = None

    def __init__(self):
        self.authenticates = True


def function():
    return Declares()


def declared():
    return Declares()


declared.authenticates = True
"""


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("Declares", True),
        ("Inherits", True),
        ("declared", True),
        ("Takes_it_back", False),
        ("Has_a_method", False),
        ("Has_a_property", False),
        ("Says_one", False),
        ("Only_the_object", False),
        ("function", False),
    ],
)
def test_only_a_factory_that_says_so_authenticates(
    plugins: Path, name: str, *, declared: bool
) -> None:
    (plugins / "acme_keys.py").write_text(AUTHENTICATING)
    install(plugins, f"[gateway.middlewares]\nacme = acme_keys:{name}\n")
    assert [entry.authenticates for entry in good([f"acme_keys:{name}"])] == [declared]
    assert [entry.authenticates for entry in good(["acme"])] == [declared]


def test_of_the_bundled_middlewares_only_api_key_authenticates(plugins: Path) -> None:
    (plugins / "acme_keys.py").write_text(AUTHENTICATING)
    options: dict[str, Any] = {
        "api_key": {"keys": []},
        "acme_keys:api_key": {"keys": []},
        "rate_limit": {"requests_per_minute": 1},
        "cors": {"allow_origins": []},
    }
    chain = [*({name: options[name]} for name in options), "request_id", "request_log"]
    found = [entry.name for entry in good(chain) if entry.authenticates]
    assert found == ["api_key", "acme_keys:api_key"]


ALICE = Principal(id="a1", name="alice", team="web", source="config")
BOB = Principal(id="b2", name="bob", source="directory")
OTHER_ALICE = Principal(id="a9", name="alice", source="directory")


def name_set(name: Any) -> Callable[[web.Request], None]:
    return lambda request: request.__setitem__(KEY_NAME, name)


def principal_set(principal: Principal) -> Callable[[web.Request], None]:
    return lambda request: request.__setitem__(PRINCIPAL, principal)


def deleted(*keys: web.RequestKey[Any]) -> Callable[[web.Request], None]:
    def delete(request: web.Request) -> None:
        for key in keys:
            del request[key]

    return delete


def authenticated(principal: Principal) -> Callable[[web.Request], None]:
    return lambda request: set_principal(request, principal)


def named(name: str) -> Principal:
    return Principal(id=name, name=name, source="middleware")


@pytest.mark.parametrize(
    ("middlewares", "expected"),
    [
        ([], None),
        ([authenticated(ALICE)], ALICE),
        ([authenticated(ALICE), authenticated(BOB)], BOB),
        # Only one of the two is set: as middlewares did before there were principals.
        ([name_set("carol")], named("carol")),
        ([name_set("")], named("")),
        ([name_set(None)], None),
        ([principal_set(BOB)], BOB),
        # One of the two is set later than both.
        ([authenticated(ALICE), name_set("carol")], named("carol")),
        ([authenticated(ALICE), name_set("alice")], ALICE),
        ([authenticated(ALICE), principal_set(BOB)], BOB),
        ([authenticated(ALICE), principal_set(OTHER_ALICE)], OTHER_ALICE),
        ([authenticated(ALICE), name_set(None)], None),
        ([authenticated(ALICE), deleted(KEY_NAME)], None),
        ([authenticated(ALICE), deleted(PRINCIPAL)], None),
        ([authenticated(ALICE), deleted(PRINCIPAL, KEY_NAME)], None),
        ([authenticated(ALICE), deleted(KEY_NAME), authenticated(BOB)], BOB),
        ([name_set("carol"), authenticated(ALICE)], ALICE),
        ([name_set("carol"), name_set("dave")], named("dave")),
        # Both are set, and they disagree.
        ([name_set("carol"), principal_set(BOB)], BOB),
        ([authenticated(ALICE), name_set("carol"), principal_set(BOB)], BOB),
    ],
)
@pytest.mark.parametrize("read_between", [True, False])
def test_the_principal_and_the_name_of_the_key_always_agree(
    middlewares: list[Callable[[web.Request], None]],
    expected: Principal | None,
    *,
    read_between: bool,
) -> None:
    request = make_mocked_request("POST", "/")
    for middleware in middlewares:
        middleware(request)
        if read_between:
            principal_of(request)
    for _ in range(2):
        assert principal_of(request) == expected
        assert request.get(PRINCIPAL) == expected
        assert request.get(KEY_NAME) == (expected.name if expected else None)


def test_the_name_is_set_together_with_the_principal() -> None:
    """A middleware that reads KEY_NAME need not ask for the principal first."""
    request = make_mocked_request("POST", "/")
    set_principal(request, ALICE)
    assert (request[PRINCIPAL], request[KEY_NAME]) == (ALICE, "alice")


def test_a_name_becomes_one_principal_and_not_one_per_reader() -> None:
    request = make_mocked_request("POST", "/")
    request[KEY_NAME] = "carol"
    assert principal_of(request) is principal_of(request)


def test_a_middleware_beside_the_configuration_reaches_another_process(tmp_path: Path) -> None:
    """The settings are pickled for the workers, which have not read the configuration."""
    (tmp_path / "acme_own.py").write_text(MODULE.replace("Audit", "acme_own"))
    mistakes = Mistakes()
    chain = [{"acme_own": {"path": "/x", "word": "hidden"}}]
    entries = read_middlewares(chain, "middlewares", mistakes, folder=tmp_path)
    assert mistakes == {}
    code = (
        "import pickle, sys\n"
        "(entry,) = pickle.load(sys.stdin.buffer)\n"
        "print(entry.name, entry.build().options)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        input=pickle.dumps(entries),
        capture_output=True,
        check=True,
    )
    assert result.stdout.decode().strip() == "acme_own ('/x', ****, 3)"
