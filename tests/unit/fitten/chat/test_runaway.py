"""Answers that are too long or repeat themselves are detected; others are not."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.fitten.chat.runaway import RunawayDetector


def verdict(text: str, *, size: int = 5, max_bytes: int = 2**30) -> GatewayError | None:
    """What is found in a text that comes in pieces of this size."""
    detector = RunawayDetector(max_bytes, repetition=True)
    bytes_to_check = detector.bytes_to_check
    for at in range(0, len(text), size):
        bytes_to_check -= size + 13  # as the upstream wraps a piece
        if bytes_to_check < 0:
            if error := detector.check(bytes_to_check, [("content", text[at : at + size])]):
                return error
            bytes_to_check = detector.bytes_to_check
    return None


@pytest.mark.parametrize("size", [1, 5, 1000, 50_000])
@pytest.mark.parametrize("loop", ["la ", "\n", "I will look into that file now.\n", "再见。"])
def test_a_loop_is_found_however_it_is_cut(loop: str, size: int) -> None:
    error = verdict(loop * (300_000 // len(loop)), size=size)
    assert error is not None
    assert error.code == "upstream_repetition"


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"line {n}: the value is {n * n}\n" for n in range(20_000)),
        "same words here " * 500 + "".join(f"{n * 7919} " for n in range(50_000)),
        ("=" * 2000 + "".join(f"{n * 7919} " for n in range(3000))) * 8,
    ],
    ids=["list", "a short loop", "rulers"],
)
def test_a_text_that_only_has_likenesses_is_left_alone(text: str) -> None:
    assert verdict(text) is None


def test_an_answer_ends_at_its_longest_size() -> None:
    text = "".join(f"{n} " for n in range(10_000))
    assert verdict(text, size=1, max_bytes=14 * len(text)) is None
    error = verdict(text, size=1, max_bytes=14 * len(text) - 1)
    assert error is not None
    assert error.code == "upstream_too_long"
