"""What a client reads in a stream, and what it reports as wrong."""

from __future__ import annotations

import pytest

from chaos.frames import Frames

HI = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
ERROR = b'data: {"error":{"code":"upstream_truncated"}}\n\n'
DONE = b"data: [DONE]\n\n"


def read(*parts: bytes) -> Frames:
    frames = Frames()
    for part in parts:
        frames.feed(part)
    frames.end()
    return frames


def test_a_whole_stream_has_its_text_and_no_fault() -> None:
    frames = read(b": keep-alive\n\n", HI, HI, STOP, DONE)
    assert (frames.text, frames.finish, frames.done, frames.faults) == ("HiHi", "stop", True, [])


def test_frames_may_be_cut_anywhere() -> None:
    frames = read(*(bytes([byte]) for byte in HI + STOP + DONE))
    assert (frames.text, frames.faults) == ("Hi", [])


def test_a_stream_may_end_with_an_error() -> None:
    frames = read(HI, ERROR)
    assert (frames.text, frames.code, frames.done) == ("Hi", "upstream_truncated", False)
    assert frames.faults == []


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ((HI, ERROR, DONE), "[DONE] after an error"),
        ((HI, ERROR, STOP), "a frame after an error"),
        ((HI, STOP, DONE, HI), "a frame after [DONE]"),
        ((HI, STOP), "an end without [DONE] or an error"),
        ((HI, DONE), "[DONE] without a finish_reason"),
        ((HI, STOP, STOP, DONE), "two finish_reasons"),
        ((HI, b"event: x\n\n", STOP, DONE), "something that is no frame"),
        ((HI, STOP, DONE, b"data: "), "half a frame at the end"),
    ],
)
def test_a_stream_that_is_wrong_is_reported(parts: tuple[bytes, ...], fault: str) -> None:
    assert read(*parts).faults == [fault]
