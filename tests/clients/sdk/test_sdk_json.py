"""Structured answers, as the official SDK asks for and reads them."""

from __future__ import annotations

from enum import Enum
from typing import Any
from urllib.parse import quote

import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from tests.clients.sdk.support import MODEL, FittenProcess, SdkQuestion


class Kind(Enum):
    CITY = "city"
    RIVER = "river"


class JsonPlace(BaseModel):
    name: str
    kind: Kind
    near: list[JsonPlace] = Field(default_factory=list)
    people: int | None


RIGHT = (
    '{"name": "Köln", "kind": "city", "people": 1, "near": '
    '[{"name": "Rhein", "kind": "river", "people": null, "near": []}]}'
)
WRONG = '{"name": "Köln", "kind": "town", "people": 1, "near": []}'


def question(value: str, **arguments: str) -> SdkQuestion:
    words = " ".join(f"{name}={quote(given)}" for name, given in arguments.items())
    return SdkQuestion(f"[[json_answer value={quote(value)} {words}]]")


@pytest.mark.parametrize("form", ["plain", "fence", "bare"])
def test_an_answer_is_parsed_into_a_model(client: OpenAI, form: str) -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=question(RIGHT, form=form).messages, response_format=JsonPlace
    )
    place = answer.choices[0].message.parsed
    assert place is not None
    assert (place.name, place.kind, place.near[0].people) == ("Köln", Kind.CITY, None)


@pytest.mark.parametrize(
    ("value", "arguments"),
    [(RIGHT, {"form": "broken", "then": "fence"}), (WRONG, {"later": RIGHT})],
    ids=["no JSON", "does not fit"],
)
def test_a_miss_is_put_right_by_one_repeat(
    client: OpenAI, fitten: FittenProcess, value: str, arguments: dict[str, str]
) -> None:
    asked = question(value, **arguments)
    answer = client.chat.completions.parse(
        model=MODEL, messages=asked.messages, response_format=JsonPlace
    )
    assert answer.choices[0].message.parsed == JsonPlace.model_validate_json(RIGHT)
    assert len(fitten.calls(asked)) == 2


def test_a_second_miss_is_the_text_with_a_header(client: OpenAI, fitten: FittenProcess) -> None:
    asked = question(WRONG)
    schema: Any = {
        "type": "json_schema",
        "json_schema": {"name": "place", "schema": JsonPlace.model_json_schema()},
    }
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=asked.messages, response_format=schema
    )
    assert raw.headers["x-fitten-response-format"] == "mismatch"
    assert raw.parse().choices[0].message.content == WRONG
    assert len(fitten.calls(asked)) == 2


def test_a_streamed_answer_is_parsed_at_its_end(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=question(RIGHT, form="fence").messages, response_format=JsonPlace
    ) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].message.parsed == JsonPlace.model_validate_json(RIGHT)


def test_any_object_can_be_asked_for(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=question('{"a": 1}', form="fence").messages,
        response_format={"type": "json_object"},
    )
    assert answer.choices[0].message.content == '{"a": 1}'
