from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.admin.api.bodies import read_idempotency_key, read_query, read_version, strict
from gateway.errors import InvalidRequest


class InnerMessage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    size: int = 0


class BodyMessage(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: InnerMessage = InnerMessage()
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    role: Literal["admin", "viewer"] = "viewer"


@pytest.mark.parametrize(
    ("value", "param", "text"),
    [
        ({"name": "a", "colour": 1}, "colour", "Known: name, inner, limit, role."),
        ({"name": "a", "inner": {"depth": 1}}, "inner.depth", "There is no member"),
        ({}, "name", "'name' is missing."),
        ({"name": 5}, "name", "'name' is wrong: expected `str`, got `int`."),
        ({"name": "a", "limit": 11}, "limit", "expected `int` <= 10"),
        ({"name": "a", "role": "fg-secret"}, "role", "wrong: not one of the allowed values."),
        ({"name": "a", "limit": True}, "limit", "expected `int`, got `bool`"),
    ],
)
def test_a_wrong_member_is_named(value: dict[str, Any], param: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        strict(value, BodyMessage)
    assert caught.value.param == param
    assert text in caught.value.message


def test_a_long_unknown_name_is_not_quoted_whole() -> None:
    with pytest.raises(InvalidRequest) as caught:
        strict({"name": "a", "x" * 5000: 1}, BodyMessage)
    assert len(caught.value.message) < 300


def query(text: str) -> Any:
    return read_query(make_mocked_request("GET", f"/x?{text}"), BodyMessage)


def test_parameters_are_texts_that_may_stand_for_numbers() -> None:
    assert query("name=7&limit=3") == BodyMessage("7", limit=3)


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
