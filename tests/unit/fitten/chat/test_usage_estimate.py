"""Estimates that are calibrated on the upstream's counts, and on nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.chat.decoder import UpstreamUsage
from gateway.fitten.chat.usage_estimate import ModelCalibration, TokenRatio, UsageCalibration
from gateway.generation.outcome import Usage
from gateway.generation.stop_sequences import StopSequenceFilter


def learnt(*samples: tuple[int, int]) -> TokenRatio:
    ratio = TokenRatio()
    for byte_count, token_count in samples:
        ratio.learn(byte_count, token_count)
    return ratio


def test_before_anything_is_known_four_bytes_are_a_token() -> None:
    assert [TokenRatio().estimate(count) for count in (0, 1, 4, 400)] == [0, 1, 1, 100]


def test_a_few_answers_are_believed_and_a_first_one_is_not() -> None:
    assert learnt((300, 100), (300, 100)).estimate(300) == 75
    assert learnt((300, 100), (300, 100), (300, 100)).estimate(300) == 100


def test_what_was_learnt_follows_the_upstream_when_it_changes() -> None:
    ratio = learnt(*[(300, 100)] * 100, *[(500, 100)] * 31)
    assert ratio.bytes_per_token == 5


@pytest.mark.parametrize(
    "nonsense",
    [
        (3000, 0),
        (3000, -1),
        (3000, 1),
        (3000, 15),
        (100, 101),
        (0, 100),
        (100_000, 100),
        (5, 10**14),
    ],
)
def test_counts_that_cannot_be_of_this_text_teach_nothing(nonsense: tuple[int, int]) -> None:
    assert learnt(*[nonsense] * 50).bytes_per_token == 4


def test_fewer_wrong_than_right_counts_move_nothing() -> None:
    ratio = learnt(*[(300, 100), (1100, 100)] * 7, *[(300, 100)] * 3)
    assert ratio.bytes_per_token == 3


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(-(10**15), 10**15))), st.integers(1))
def test_an_estimate_stays_within_what_any_language_needs(
    samples: list[tuple[int, int]], byte_count: int
) -> None:
    byte_count %= 10**9
    assert byte_count / 12 - 1 <= learnt(*samples).estimate(byte_count) <= byte_count + 1


def test_models_are_apart_and_only_so_many_are_kept() -> None:
    calibration = UsageCalibration()
    for _ in range(3):
        calibration.of("a").prompt.learn(300, 100)
    assert calibration.of("b").prompt.bytes_per_token == 4
    assert calibration.of("a").completion.bytes_per_token == 4
    for number in range(63):
        calibration.of(f"m{number}")
        assert calibration.of("a").prompt.bytes_per_token == 3
    for number in range(64):
        calibration.of(f"n{number}")
    assert calibration.of("a").prompt.bytes_per_token == 4


def sent(content: str, reasoning: str = "", **options: int) -> StopSequenceFilter:
    stop_filter = StopSequenceFilter(max_tokens=options.get("max_tokens"))
    stop_filter.feed([("reasoning", reasoning)] if reasoning else [])
    stop_filter.feed([("content", content)])
    return stop_filter


@pytest.mark.parametrize(
    ("counted", "whole", "usage"),
    [
        (UpstreamUsage(30, 20), True, Usage(30, 20)),
        (UpstreamUsage(30, 20), False, Usage(100, 10, estimated=True)),
        (UpstreamUsage(0, 20), True, Usage(100, 10, estimated=True)),
        (UpstreamUsage(30, 0), True, Usage(100, 10, estimated=True)),
        (None, True, Usage(100, 10, estimated=True)),
    ],
)
def test_what_is_reported_of_an_answer(
    counted: UpstreamUsage | None, whole: bool, usage: Usage
) -> None:
    found = ModelCalibration().usage(400, sent("a" * 40), counted, whole=whole, max_tokens=None)
    assert found == usage


def test_reasoning_is_counted_by_its_share_of_the_text() -> None:
    stop_filter = sent("a" * 30, "t" * 90)
    counted = UpstreamUsage(10, 200)
    found = ModelCalibration().usage(1, stop_filter, counted, whole=True, max_tokens=None)
    assert (found.completion_tokens, found.reasoning_tokens) == (200, 150)
    found = ModelCalibration().usage(1, stop_filter, None, whole=True, max_tokens=None)
    assert (found.completion_tokens, found.reasoning_tokens) == (30, 22)


def test_no_estimate_is_above_the_limit_that_was_asked_for() -> None:
    weights = ModelCalibration()
    for _ in range(3):
        weights.completion.learn(100, 100)
    cut = sent("a" * 400, max_tokens=10)
    assert cut.finish_reason == "length"
    assert weights.usage(1, cut, None, whole=True, max_tokens=10).completion_tokens == 10
    near = sent("a" * 39, max_tokens=10)
    assert weights.usage(1, near, None, whole=True, max_tokens=10).completion_tokens == 10
    free = sent("a" * 39)
    assert weights.usage(1, free, None, whole=True, max_tokens=None).completion_tokens == 39
