"""Whole agent loops with a library that is not OpenAI's (its own environment, `make sdk`)."""

from __future__ import annotations

from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.clients.sdk.support import MODEL

ASKED = "What is the weather in Paris for 3 days?"


def get_weather(city: str, days: int) -> str:
    """The weather of the next days."""
    return f"sunny in {city} for {days} days"


def made_agent(client: AsyncOpenAI, api: str) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    kind = OpenAIResponsesModel if api == "responses" else OpenAIChatModel
    model = kind(MODEL, provider=OpenAIProvider(openai_client=client))
    return Agent(model, tools=[get_weather])


apis = pytest.mark.parametrize("api", ["chat", "responses"])


@apis
@pytest.mark.parametrize(
    "marker", ["", "[[call notation=parameters]]", "[[call notation=json quirk=literals]]"]
)
async def test_an_agent_runs_to_its_answer(
    async_client: AsyncOpenAI, marker: str, api: str
) -> None:
    result = await made_agent(async_client, api).run(f"{ASKED} {marker}")
    assert result.output.strip() == "get_weather says: sunny in Paris for 3 days"


@apis
@pytest.mark.parametrize("marker", ["", "[[call notation=invoke quirk=results]]"])
async def test_an_agent_streams_to_its_answer(
    async_client: AsyncOpenAI, marker: str, api: str
) -> None:
    async with made_agent(async_client, api).run_stream(f"{ASKED} {marker}") as result:
        output = await result.get_output()
    assert output.strip() == "get_weather says: sunny in Paris for 3 days"
