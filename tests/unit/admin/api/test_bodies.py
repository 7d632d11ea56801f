from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.admin.api.bodies import read_idempotency_key, read_query, read_version
from gateway.errors import InvalidRequest


class QueryMessage(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1


def query(text: str) -> Any:
    return read_query(make_mocked_request("GET", f"/x?{text}"), QueryMessage)


def test_parameters_are_texts_that_may_stand_for_numbers() -> None:
    assert query("name=7&limit=3") == QueryMessage("7", limit=3)


@pytest.mark.parametrize("text", ["name=a&limit=x", "name=a&name=b", "limit=1", "name=a&x=1"])
def test_wrong_parameters_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        query(text)


def headers(**given: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in given.items()}
    return make_mocked_request("POST", "/x", headers=named)


@pytest.mark.parametrize(("value", "version"), [('"3"', 3), ("3", 3), ("*", None), (' "12" ', 12)])
def test_the_version_is_as_in_the_etag(value: str, version: int | None) -> None:
    assert read_version(headers(If_Match=value)) == version


@pytest.mark.parametrize("value", ['"x"', 'W/"3"', "-1", "3, 4", "9" * 30, ""])
def test_another_version_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        read_version(headers(If_Match=value))


def test_an_idempotency_key_has_a_bound() -> None:
    assert read_idempotency_key(headers(Idempotency_Key="a-1")) == "a-1"
    assert read_idempotency_key(headers()) is None
    for wrong in ("", "x" * 201):
        with pytest.raises(InvalidRequest):
            read_idempotency_key(headers(Idempotency_Key=wrong))
