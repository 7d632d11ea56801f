from __future__ import annotations

from tests.support import Gateway, content


async def test_a_stream_holds_the_whole_answer_and_ends_with_done(gateway: Gateway) -> None:
    frames = await gateway.stream("[[count n=5]]")
    assert content(frames) == "w0 w1 w2 w3 w4 "
    assert frames[-1] == "[DONE]"
