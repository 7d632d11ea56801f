"""What the tests of the frameworks ask for, and what they offer."""

from __future__ import annotations

from pydantic import BaseModel

KEY = "framework-key-0123456789"
ASKED = "What is the weather in Paris for 3 days?"
SAID = "get_weather says: sunny in Paris for 3 days"
PERSON = '[[say text={"name":%20"Ann",%20"age":%207}]]'
FAILED = "Fitten reports an error of its own; please try again."


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def get_weather(city: str, days: int) -> str:
    """The weather of the next days."""
    return f"sunny in {city} for {days} days"
