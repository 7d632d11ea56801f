"""Failures after the answer began: an error frame, and nothing that looks like an end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.integration.peer import UPSTREAM_CHAT, upstream_call
from tests.support import Gateway, content, is_ready
from tests.waiting import LONGEST_WAIT

FRAMINGS = ["chunked", "length", "close"]


def error_of(frames: list[Any]) -> dict[str, Any]:
    """The error that ends a stream, checked for not looking like a good end."""
    assert "[DONE]" not in frames
    *earlier, last = frames
    assert set(last) == {"error"}
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert all(frame["choices"][0]["finish_reason"] is None for frame in earlier)
    assert last["error"]["type"] == "server_error"
    error: dict[str, Any] = last["error"]
    return error


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("how", ["reset", "fin"])
@pytest.mark.parametrize("at", ["middle", "line"])
async def test_a_truncated_answer_never_looks_complete(
    gateway: Gateway, emulator: Emulator, framing: str, how: str, at: str
) -> None:
    marker = f"[[truncate framing={framing} how={how} at={at}]]"
    frames = await gateway.stream(marker)
    assert error_of(frames)["code"] == "upstream_truncated"
    assert content(frames) == "Hello, "
    status, answer = await gateway.whole(marker)
    assert status == 502
    assert answer["error"]["code"] == "upstream_truncated"
    # Never repeated once pieces went out; nor when they could have.
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 2


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("how", ["reset", "fin"])
async def test_an_answer_cut_before_its_first_piece_is_an_error_status(
    gateway: Gateway, framing: str, how: str
) -> None:
    async with gateway.post_chat(
        f"[[truncate framing={framing} how={how} after=0]]", stream=True
    ) as response:
        assert response.status == 502
        code = (await response.json())["error"]["code"]
        assert code in ("upstream_truncated", "upstream_invalid_response")


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_answer_that_is_whole_ends_well_in_every_framing(
    gateway: Gateway, framing: str
) -> None:
    frames = await gateway.stream(f"[[complete framing={framing}]]")
    assert content(frames) == "Hello, world!\n"
    assert frames[-2]["choices"][0]["finish_reason"] == "stop"
    assert frames[-1] == "[DONE]"


async def test_an_error_in_the_middle_ends_the_stream_with_an_error(gateway: Gateway) -> None:
    frames = await gateway.stream("[[error_middle]]")
    error = error_of(frames)
    assert error["code"] == "upstream_error"
    assert "made up" not in error["message"]
    assert content(frames) == "Hel"
    status, _ = await gateway.whole("[[error_middle]]")
    assert status == 502


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_page_in_the_middle_is_never_shown(gateway: Gateway, stream: bool) -> None:
    async with gateway.post_chat("[[html_middle]]", stream=stream) as response:
        raw = (await response.text()).lower()
    assert "html" not in raw
    assert "nginx" not in raw
    assert "gateway time-out" not in raw


async def test_an_error_page_in_place_of_the_rest_is_not_a_good_end(gateway: Gateway) -> None:
    frames = await gateway.stream("[[html_middle]]")
    error_of(frames)
    assert content(frames) == "Hello, "


async def test_the_body_of_a_failed_stream_is_ended_in_good_order(gateway: Gateway) -> None:
    async with gateway.post_chat("[[reset]]", stream=True) as response:
        raw = await response.read()  # raises if the chunked body were cut
    assert raw.endswith(b"\n\n")


async def test_silence_in_the_middle_ends_the_stream_with_a_timeout(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(fitten={"timeouts": {"between_pieces": 0.2}})
    started = time.monotonic()
    frames = await gateway.stream("[[slow first=0 gap=3600 n=2]]")
    assert time.monotonic() - started > 0.15
    assert error_of(frames)["code"] == "upstream_timeout"
    assert content(frames) == "w0 "
    await asyncio.wait_for((await upstream_call(emulator)).closed.wait(), LONGEST_WAIT)


async def test_silence_in_the_middle_of_a_whole_answer_is_a_504(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(fitten={"timeouts": {"between_pieces": 0.2}})
    status, answer = await gateway.whole("[[slow first=0 gap=3600 n=2]]")
    assert status == 504
    assert answer["error"]["code"] == "upstream_timeout"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    "marker", ["silent", "no_headers", "dribble pace=0.02", "heartbeats_forever pace=0.02"]
)
async def test_an_upstream_without_a_first_piece_is_given_up_in_time(
    start_gateway: StartGateway, emulator: Emulator, marker: str, stream: bool
) -> None:
    gateway = await start_gateway(fitten={"timeouts": {"first_piece": 0.5}})
    await is_ready(gateway)
    started = time.monotonic()
    async with gateway.post_chat(f"[[{marker}]]", stream=stream) as response:
        error = (await response.json())["error"]
        assert response.status == 504
        assert response.headers["x-should-retry"] == "true"
    assert time.monotonic() - started > 0.4
    assert error["code"] == "upstream_timeout"
    await asyncio.wait_for((await upstream_call(emulator)).closed.wait(), LONGEST_WAIT)


async def test_an_upstream_that_gives_up_after_keep_alives_ends_in_an_error_frame(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(
        stream={"grace": 0.02, "keep_alive": 0.05}, fitten={"timeouts": {"first_piece": 0.5}}
    )
    frames = await gateway.stream("[[heartbeats_forever pace=0.02]]")
    assert error_of(frames)["code"] == "upstream_timeout"


async def test_a_stream_may_last_longer_than_any_of_its_limits(
    start_gateway: StartGateway,
) -> None:
    limits = {"connect": 1.0, "call": 1.0, "first_piece": 1.0, "between_pieces": 1.0}
    gateway = await start_gateway(fitten={"timeouts": limits}, stream={"write_timeout": 1.0})
    frames = await gateway.stream("[[count n=25 pace=0.05]]")
    assert content(frames) == "".join(f"w{i} " for i in range(25))
    assert frames[-1] == "[DONE]"


async def test_lines_that_are_no_json_are_reported_in_the_log_only(
    gateway: Gateway, log_events: list[Any]
) -> None:
    assert content(await gateway.stream("[[malformed]]")) == "Hello, world!\n"
    (skipped,) = [event for event in log_events if event["event"] == "upstream_lines_skipped"]
    assert skipped["count"] == 4
    assert "not json" not in str(skipped)
