"""The members of an object that is converted strictly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from gateway.admin.api.messages import strict
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
