"""Tool results in a request for a summary that does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.chat.squeeze import length_of, shorten
from gateway.generation.request import GenerationRequest, Image, Message, RemoteImage

ASKS = Message("user", "You are performing a CONTEXT CHECKPOINT COMPACTION.")


def result(text: str, images: tuple[Image | RemoteImage, ...] = ()) -> Message:
    return Message("tool", text, "1", images)


def request(*messages: Message, keeps_reserve: bool = True) -> GenerationRequest:
    return GenerationRequest((*messages, ASKS), keeps_reserve=keeps_reserve)


def test_the_oldest_results_keep_their_beginning_and_end_around_a_visible_mark() -> None:
    old, new = "a" * 5000 + "b" * 5000, "c" * 10_000
    shorter = shorten(request(Message("user", "u" * 9000), result(old), result(new)), 7000)
    assert shorter is not None
    user, first, second, last = shorter.messages
    assert (user.text, second.text, last) == ("u" * 9000, new, ASKS)
    assert first.text.startswith("a" * 1500 + "\n[... 8000 characters left out here")
    assert first.text.endswith("...]\n" + "b" * 500)
    assert first.call_id == "1"


def test_more_is_left_out_when_that_is_not_enough() -> None:
    asked = request(*[result("x" * 3000) for _ in range(10)])
    shorter = shorten(asked, 27_000)
    assert shorter is not None
    assert length_of(asked.messages) - length_of(shorter.messages) >= 27_000
    assert "characters left out" in shorter.messages[0].text


def test_images_of_a_shortened_result_are_left_out_and_named() -> None:
    image = Image("image/png", "A" * 50_000)
    shorter = shorten(request(result("seen", (image,)), result("r" * 10)), 40_000)
    assert shorter is not None
    assert shorter.messages[0].images == ()
    assert shorter.messages[0].text == (
        "seen\n[1 images left out here to make room for the summary]"
    )
    assert shorter.messages[1].text == "r" * 10


@pytest.mark.parametrize(
    "asked",
    [
        request(result("x" * 9000), keeps_reserve=False),
        GenerationRequest((result("x" * 9000), Message("user", "go on")), keeps_reserve=True),
        request(Message("user", "x" * 9000), Message("assistant", "y" * 9000), result("short")),
    ],
)
def test_nothing_else_is_shortened(asked: GenerationRequest) -> None:
    assert shorten(asked, 1000) is None


texts = st.integers(0, 6000).map(lambda length: "x" * length)


@given(st.lists(texts, max_size=6), st.integers(1, 30_000))
def test_shortening_again_and_again_ends(sizes: list[str], excess: int) -> None:
    asked: GenerationRequest | None = request(*map(result, sizes))
    rounds = 0
    while asked is not None:
        asked, rounds = shorten(asked, excess), rounds + 1
    assert rounds <= 3 * len(sizes) + 1
