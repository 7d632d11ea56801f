"""Code completion, as the official SDK asks for and reads it."""

from __future__ import annotations

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI

FIM = "<|fim_prefix|>x = <|fim_suffix|>\n<|fim_middle|>"


def test_a_gap_is_filled(client: OpenAI) -> None:
    answer = client.completions.create(model="any", prompt="x = ", suffix="\n", max_tokens=64)
    assert answer.choices[0].text == "completed()"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


def test_a_gap_is_filled_in_a_stream(client: OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model="any", prompt=FIM, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.text for chunk in chunks for c in chunk.choices) == "completed()"
    reasons = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert reasons == ["stop"]
    assert chunks[-1].usage is not None


async def test_several_prompts_have_several_choices(async_client: AsyncOpenAI) -> None:
    answer = await async_client.completions.create(model="any", prompt=["a = ", "b = "])
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_token_ids_are_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(model="any", prompt=[1, 2, 3])
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "prompt")
