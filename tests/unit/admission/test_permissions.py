"""A key uses the models and routes of its lists, and an answer says which those are."""

from __future__ import annotations

import pytest

from gateway.admission.permissions import allowed_models, check_model, check_route
from gateway.errors import ModelNotAllowed, RouteNotAllowed
from gateway.generation.model import Model
from gateway.principal import Principal

V3 = Model("DeepSeek V3", "DeepSeek V3", "S2", "chat")
R1 = Model("DeepSeek R1", "DeepSeek R1", "S3", "chat")


def sender(models: frozenset[str] | None = None, routes: frozenset[str] | None = None) -> Principal:
    return Principal(id="a", name="alice", models=models, routes=routes)


@pytest.mark.parametrize("principal", [None, sender()])
def test_without_lists_everything_is_allowed(principal: Principal | None) -> None:
    check_model(principal, V3)
    check_route(principal, "fim")
    assert allowed_models(principal, (V3, R1)) == (V3, R1)


@pytest.mark.parametrize("written", ["DeepSeek V3", "deepseek-v3", "DEEPSEEK V3", "deepseek  v3"])
def test_a_list_may_have_either_form_of_an_id(written: str) -> None:
    principal = sender(frozenset({written}))
    check_model(principal, V3)
    assert allowed_models(principal, (V3, R1)) == [V3]
    with pytest.raises(ModelNotAllowed):
        check_model(principal, R1)


def test_a_refusal_says_what_is_allowed() -> None:
    with pytest.raises(ModelNotAllowed) as refused:
        check_model(sender(frozenset({"DeepSeek V3", "fitten-code"})), R1)
    assert (refused.value.status, refused.value.code) == (403, "model_not_allowed")
    assert refused.value.param == "model"
    assert refused.value.message == (
        "This API key may not use the model 'deepseek-r1'. It may use deepseek-v3, fitten-code."
    )
    with pytest.raises(RouteNotAllowed) as route:
        check_route(sender(routes=frozenset({"fim", "completion"})), "chat")
    assert (route.value.status, route.value.code) == (403, "route_not_allowed")
    assert route.value.message == (
        "This API key may not be used for chat. It may be used for completion, fim."
    )


def test_an_empty_list_allows_nothing() -> None:
    principal = sender(frozenset(), frozenset())
    assert allowed_models(principal, (V3,)) == []
    with pytest.raises(ModelNotAllowed, match="no model at all"):
        check_model(principal, V3)
    with pytest.raises(RouteNotAllowed, match="no route at all"):
        check_route(principal, "chat")


def test_a_long_list_is_not_shown_whole() -> None:
    principal = sender(frozenset(f"model-{number:03}" for number in range(30)))
    with pytest.raises(ModelNotAllowed, match="model-019 and 10 more"):
        check_model(principal, V3)
