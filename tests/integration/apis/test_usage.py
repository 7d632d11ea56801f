"""Token counts: the upstream's where it gives them, else an estimate calibrated on them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.peer import Peer, chat_request, eventually
from tests.support import Gateway, content

ASKED = {"stream_options": {"include_usage": True}}


def log_lines(log_events: list[Any]) -> list[dict[str, Any]]:
    return [event for event in log_events if event["event"] == "request"]


async def usage_of(gateway: Gateway, text: str, **parameters: Any) -> dict[str, Any]:
    status, answer = await gateway.whole(text, **parameters)
    assert status == 200
    usage: dict[str, Any] = answer["usage"]
    return usage


async def test_estimates_follow_what_the_upstream_counted_before(
    gateway: Gateway, log_events: list[Any]
) -> None:
    text = "[[count n=1000]]"
    before = await usage_of(gateway, text, stop="w999")
    for _ in range(3):
        # Deltas of 6 bytes, each of which the emulator counts as a token.
        assert (await usage_of(gateway, "[[count n=100 size=6]]"))["completion_tokens"] == 100
    after = await usage_of(gateway, text, stop="w999")
    sent = len("".join(f"w{i} " for i in range(999)))
    assert before["completion_tokens"] == pytest.approx(sent / 4, abs=1)
    assert after["completion_tokens"] == pytest.approx(sent / 6, abs=1)
    assert [line["tokens_estimated"] for line in log_lines(log_events)] == [
        True,
        False,
        False,
        False,
        True,
    ]


async def test_estimates_of_one_model_do_not_change_another(gateway: Gateway) -> None:
    for _ in range(3):
        await usage_of(gateway, "[[count n=100 size=6]]", model="DeepSeek V3")
    usage = await usage_of(gateway, "[[count n=100 size=6]]", stop="w99")
    assert usage["completion_tokens"] == pytest.approx(99 * 6 / 4, abs=1)


async def test_prompts_are_estimated_as_the_upstream_counts_them(gateway: Gateway) -> None:
    padding = "x" * 3000
    for _ in range(3):
        counted = await usage_of(gateway, f"[[count n=20]] {padding}")
    usage = await usage_of(gateway, f"[[no_usage]] {padding}")
    assert usage["prompt_tokens"] == pytest.approx(counted["prompt_tokens"], rel=0.02)


async def test_a_limit_means_the_same_before_and_after_calibration(gateway: Gateway) -> None:
    before = await usage_of(gateway, "[[endless]]", max_tokens=10)
    for _ in range(3):
        await usage_of(gateway, "[[count n=100 size=10]]")
    frames = await gateway.stream("[[endless]]", max_tokens=10, **ASKED)
    assert len(content(frames)) == 40
    assert frames[-2]["usage"]["completion_tokens"] == before["completion_tokens"] == 10


@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_a_client_that_leaves_is_logged_with_what_it_got(
    peer: Peer, log_events: list[Any], how: str
) -> None:
    await peer.send(chat_request("[[slow first=0 gap=0.05 n=1000]]", stream=True))
    await peer.until(b"w9 ")
    if how == "FIN":
        peer.close()
    else:
        peer.reset()
    await eventually(lambda: log_lines(log_events))
    (line,) = log_lines(log_events)
    assert line["end"] == "client_closed_request"
    assert line["tokens_estimated"] is True
    assert line["prompt_tokens"] > 10
    assert 7 <= line["completion_tokens"] <= 12  # ten pieces of three bytes, or a few more


async def test_an_answer_that_breaks_off_is_logged_with_what_came(
    gateway: Gateway, log_events: list[Any]
) -> None:
    frames = await gateway.stream("[[error_middle]]")
    (line,) = log_lines(log_events)
    assert line["end"] == frames[-1]["error"]["code"]
    assert line["tokens_estimated"] is True
    assert line["completion_tokens"] == -(-len(content(frames)) // 4)


@pytest.mark.parametrize("scenario", ["reasoning", "thinking"])
async def test_reasoning_tokens_are_part_of_the_completion(gateway: Gateway, scenario: str) -> None:
    usage = await usage_of(gateway, f"[[{scenario}]]")
    thoughts = usage["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < thoughts < usage["completion_tokens"] == 5


async def test_usage_comes_once_and_last_however_the_answer_ends(gateway: Gateway) -> None:
    for text, limits in (
        ("[[say]]", {}),
        ("[[no_usage]]", {}),
        ("[[usage_early]]", {}),
        ("[[endless]]", {"max_tokens": 5}),
        ("[[count n=50]]", {"stop": "w7"}),
    ):
        *frames, last, done = await gateway.stream(text, **limits, **ASKED)
        assert done == "[DONE]"
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] > 0
        assert all(frame["usage"] is None and frame["choices"] for frame in frames)
