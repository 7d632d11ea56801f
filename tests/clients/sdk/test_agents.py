"""Whole agent loops with a library that is not OpenAI's (its own environment, `make sdk`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.clients.sdk.support import MODEL

ASKED = "What is the weather in Paris for 3 days?"


def get_weather(city: str, days: int) -> str:
    """The weather of the next days."""
    return f"sunny in {city} for {days} days"


@asynccontextmanager
async def made_agent(client: AsyncOpenAI, api: str) -> AsyncIterator[Any]:
    from anthropic import AsyncAnthropic
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    if api == "messages":
        root = str(client.base_url).removesuffix("/v1/")
        async with AsyncAnthropic(api_key=client.api_key, base_url=root) as messages:
            provider = AnthropicProvider(anthropic_client=messages)
            yield Agent(AnthropicModel(MODEL, provider=provider), tools=[get_weather])
        return
    kind = OpenAIResponsesModel if api == "responses" else OpenAIChatModel
    model = kind(MODEL, provider=OpenAIProvider(openai_client=client))
    yield Agent(model, tools=[get_weather])


apis = pytest.mark.parametrize("api", ["chat", "responses", "messages"])


# The first is in the notation that the prompt asks for.
@apis
@pytest.mark.parametrize(
    "marker",
    [
        "",
        "[[call notation=parameters]]",
        "[[call notation=json quirk=literals]]",
        "[[call notation=deepseek_v31]]",
        "[[call notation=qwen3_coder]]",
    ],
)
async def test_an_agent_runs_to_its_answer(
    async_client: AsyncOpenAI, marker: str, api: str
) -> None:
    async with made_agent(async_client, api) as agent:
        result = await agent.run(f"{ASKED} {marker}")
    assert result.output.strip() == "get_weather says: sunny in Paris for 3 days"


@apis
@pytest.mark.parametrize(
    "marker", ["", "[[call notation=invoke quirk=results]]", "[[call notation=kimi_k2]]"]
)
async def test_an_agent_streams_to_its_answer(
    async_client: AsyncOpenAI, marker: str, api: str
) -> None:
    async with (
        made_agent(async_client, api) as agent,
        agent.run_stream(f"{ASKED} {marker}") as result,
    ):
        output = await result.get_output()
    assert output.strip() == "get_weather says: sunny in Paris for 3 days"
