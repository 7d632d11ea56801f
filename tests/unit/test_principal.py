"""Nothing in a principal can be changed: requests share it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gateway.principal import Principal


def test_a_name_and_an_id_are_enough() -> None:
    principal = Principal(id="a1", name="alice")
    assert (principal.team, principal.limits, principal.models) == (None, {}, None)
    assert (principal.source, principal.record) == ("middleware", False)


def test_no_model_is_something_else_than_every_model() -> None:
    every = Principal(id="a1", name="alice")
    assert every != Principal(id="a1", name="alice", models=frozenset())


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Principal)])
def test_no_field_can_be_set(field: str) -> None:
    principal = Principal(id="a1", name="alice")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(principal, field, "bob")


def test_the_limits_can_be_changed_neither_in_it_nor_from_outside() -> None:
    limits = {"chats_per_minute": 60}
    principal = Principal(id="a1", name="alice", limits=limits)
    limits["chats_per_minute"] = 1
    assert principal.limits == {"chats_per_minute": 60}
    inside: Any = principal.limits
    with pytest.raises(TypeError):
        inside["chats_per_minute"] = 1


def test_it_can_be_a_key_of_a_mapping() -> None:
    one, same = (Principal(id="a1", name="alice", limits={"concurrency": 4}) for _ in range(2))
    assert {one: "found"}[same] == "found"
