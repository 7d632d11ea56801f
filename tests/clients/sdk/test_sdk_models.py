"""The list of models, as the official SDK reads it."""

from __future__ import annotations

import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI

from tests.clients.sdk.support import MODEL, FittenProcess, SdkQuestion


def test_the_models_are_listed(client: OpenAI) -> None:
    models = list(client.models.list())
    assert models[0].id == MODEL
    assert {"Default", "DeepSeek V3", "DeepSeek R1"} <= {model.id for model in models}
    assert {model.object for model in models} == {"model"}
    assert all(model.created > 0 and model.owned_by for model in models)
    assert len({model.id for model in models}) == len(models)


async def test_the_async_client_lists_the_models(async_client: AsyncOpenAI) -> None:
    models = [model async for model in async_client.models.list()]
    assert models[0].id == MODEL


def test_every_listed_model_can_be_retrieved(client: OpenAI) -> None:
    for model in client.models.list():
        assert client.models.retrieve(model.id) == model


def test_a_model_is_retrieved_by_an_id_with_a_blank(client: OpenAI) -> None:
    assert client.models.retrieve("DeepSeek V3").id == "DeepSeek V3"


def test_an_unknown_model_is_not_retrieved(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.models.retrieve("no-such/model")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_chat_with_an_unknown_model_is_not_answered(
    client: OpenAI, fitten: FittenProcess
) -> None:
    question = SdkQuestion("[[complete]]")
    with pytest.raises(NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=question.messages)
    assert (caught.value.status_code, caught.value.code) == (404, "model_not_found")
    assert caught.value.param == "model"
    assert "no-such-model" in caught.value.message
    assert fitten.calls(question) == []


@pytest.mark.parametrize("name", ["DeepSeek V3", "S2"])
def test_a_model_is_chosen_by_either_of_its_names(
    client: OpenAI, fitten: FittenProcess, name: str
) -> None:
    question = SdkQuestion("[[complete]]")
    answer = client.chat.completions.create(model=name, messages=question.messages)
    assert answer.model == name
    (call,) = fitten.calls(question)
    assert call["body"]["meta_datas"]["model"] == "S2"
