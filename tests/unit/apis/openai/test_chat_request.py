"""The parameters of a chat: each form that says the same is taken, the others are named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.apis.openai.chat_request import ChatCompletions
from gateway.errors import InvalidRequest
from gateway.generation.request import GenerationRequest


def parse(**parameters: Any) -> GenerationRequest:
    body = {"messages": [{"role": "user", "content": "a"}], **parameters}
    return ChatCompletions().parse(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        ({}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": 9}, 9),
        ({"max_tokens": 9.0}, 9),
        ({"max_tokens": 1e3}, 1000),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": -1.0}, None),
        ({"max_tokens": -5}, None),
        ({"max_tokens": 2**31}, 2**31),
        ({"max_tokens": 10**30}, 10**30),
        ({"max_completion_tokens": 7.0}, 7),
        ({"max_completion_tokens": 7, "max_tokens": 9}, 7),
        ({"max_completion_tokens": -1, "max_tokens": 9}, 9),
        ({"max_completion_tokens": None, "max_tokens": 9}, 9),
    ],
)
def test_the_limit_of_tokens_is_read_in_every_form(
    parameters: dict[str, Any], limit: int | None
) -> None:
    found = parse(**parameters).max_tokens
    assert found == limit
    assert isinstance(found, int | None)


@pytest.mark.parametrize(
    ("stop", "found"),
    [
        (None, ()),
        ("", ()),
        ([], ()),
        ("\n", ("\n",)),
        (["\n\n", ""], ("\n\n",)),
        (["a", None, "b"], ("a", "b")),
        (["a", "b", "a"], ("a", "b")),
        ([f"s{i}" for i in range(64)], tuple(f"s{i}" for i in range(64))),
        (["x"] * 1000, ("x",)),
        (["x" * 1024], ("x" * 1024,)),
    ],
)
def test_stop_strings_are_read_in_every_form(stop: Any, found: tuple[str, ...]) -> None:
    assert parse(stop=stop).stop == found


@pytest.mark.parametrize("bad", ["hot", True, [1], {"a": {"b": 1}}, -1, 1.5, 10**30])
def test_parameters_without_effect_may_have_any_type(bad: Any) -> None:
    names = [
        "temperature", "top_p", "top_k", "seed", "logprobs", "top_logprobs", "logit_bias",
        "frequency_penalty", "presence_penalty", "reasoning_effort", "service_tier", "store",
        "modalities", "audio", "prediction", "web_search_options", "verbosity", "extra_body",
    ]  # fmt: skip
    request = parse(**dict.fromkeys(names, bad), user=bad, metadata=bad)
    assert list(request.ignored) == names


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"messages": 5}, "'messages' must be an array, not a number."),
        ({"messages": [5]}, "'messages[0]' must be an object, not a number."),
        ({"messages": [{"role": 5}]}, "'messages[0].role' must be a string, not a number."),
        ({"messages": [{"role": "user", "content": 5}]},
         "'messages[0].content' must be a string or an array of parts, not a number."),
        ({"messages": [{"role": "user", "content": True}]},
         "'messages[0].content' must be a string or an array of parts, not a boolean."),
        ({"messages": [{"role": None, "content": ""}]},
         "'messages[0].role' must be a string, not null."),
        ({"model": ["a"]}, "'model' must be a string, not an array."),
        ({"stream": "true"}, "'stream' must be true or false, not a string."),
        ({"stream": 1.5}, "'stream' must be true or false, not a number."),
        ({"max_tokens": "9"}, "'max_tokens' must be a whole number, not a string."),
        ({"max_tokens": True}, "'max_tokens' must be a whole number, not a boolean."),
        ({"max_tokens": 1.5}, "'max_tokens' must be a whole number, not a fraction."),
        ({"max_completion_tokens": -0.5, "max_tokens": 1},
         "'max_completion_tokens' must be a whole number, not a fraction."),
        ({"max_completion_tokens": 1, "max_tokens": 0.5},
         "'max_tokens' must be a whole number, not a fraction."),
        ({"stop": {}}, "'stop' must be a string or an array, not an object."),
        ({"stop": [5]}, "'stop[0]' must be a string, not a number."),
        ({"stop": [str(i) for i in range(65)]},
         "'stop' takes up to 64 strings of up to 1024 characters."),
        ({"stop": "x" * 1025}, "'stop' takes up to 64 strings of up to 1024 characters."),
        ({"n": 1.5}, "Only one choice can be generated: 'n' must be 1."),
        ({"tools": {}}, "'tools' must be an array, not an object."),
        ({"tool_choice": 5}, "'tool_choice' must be a string or an object, not a number."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_described_in_the_words_of_json(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**parameters)
    assert caught.value.message == message


@pytest.mark.parametrize("n", [None, 1, 1.0])
def test_one_choice_may_be_written_as_a_number_with_a_point(n: Any) -> None:
    assert parse(n=n)
