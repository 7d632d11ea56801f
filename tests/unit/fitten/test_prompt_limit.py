"""The size of the context, in characters and in tokens."""

from __future__ import annotations

import re

import pytest

from gateway.fitten.chat.usage_estimate import UsageCalibration
from gateway.fitten.prompt_limit import (
    MAX_CHARS,
    RESERVE,
    WINDOW_CHARS,
    max_chars,
    too_long_error,
    window,
)
from gateway.generation.request import GenerationRequest, Image, Message

ASKS = Message("user", "You are performing a CONTEXT CHECKPOINT COMPACTION.")


def test_eight_percent_are_kept_free_and_the_window_is_the_rest() -> None:
    assert (MAX_CHARS, RESERVE, WINDOW_CHARS) == (307_200, 24_576, 282_624)
    assert window(4) == 70_656
    assert window(3.2) == 88_320


@pytest.mark.parametrize(
    ("request_", "most"),
    [
        (GenerationRequest((Message("user", "a"),)), MAX_CHARS),
        (GenerationRequest((Message("user", "a"),), keeps_reserve=True), WINDOW_CHARS),
        (GenerationRequest((ASKS,), keeps_reserve=True), MAX_CHARS),
        (GenerationRequest((ASKS,)), MAX_CHARS),
    ],
)
def test_only_a_request_for_a_summary_may_use_the_reserve(
    request_: GenerationRequest, most: int
) -> None:
    assert max_chars(request_) == most


@pytest.mark.parametrize(
    ("text", "ratio", "tokens", "limit"),
    [
        ("a" * 400_000, 4, 100_000, 76_800),
        ("a" * 400_000, 3.2, 125_000, 96_000),
        ("好" * 400_000, 4, 300_000, 230_400),
        ("a" * 307_201, 4, 76_801, 76_800),
        ("", 4, 76_801, 76_800),
    ],
)
def test_the_error_has_tokens_as_the_usage_counts_them(
    text: str, ratio: float, tokens: int, limit: int
) -> None:
    size = max(len(text), MAX_CHARS + 1)
    error = too_long_error(size, [Message("user", text)], MAX_CHARS, ratio)
    assert (error.tokens, error.limit) == (tokens, limit)
    assert (error.chars, error.max_chars) == (size, MAX_CHARS)
    assert (error.status, error.code, error.cause) == (
        400,
        "context_length_exceeded",
        "context_length_exceeded",
    )
    numbers = re.findall(r"\d+", error.message)
    assert numbers == [str(n) for n in (limit, tokens, size, MAX_CHARS)]
    assert "maximum context length is" in error.message


def test_the_error_says_how_much_of_the_text_is_images() -> None:
    message = Message("user", "see", images=(Image("image/png", "A" * 400_000),))
    error = too_long_error(400_100, [message])
    assert "400000 characters are images: scale those down." in error.message
    assert error.tokens > error.limit


def test_the_window_follows_what_answers_have_shown() -> None:
    calibration = UsageCalibration()
    assert calibration.bytes_per_token("a") == 4
    for _ in range(3):
        calibration.of("a").prompt.learn(3200, 1000)
    assert calibration.bytes_per_token("a") == 3.2
    assert calibration.bytes_per_token("b") == 4
