"""What a request leaves behind is freed with its last reference, not by the collector."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import pytest

from tests.support import Gateway

ROOMS = ("gateway.", "middlewares.")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_answer_leaves_no_object_of_the_gateway_to_the_collector(
    gateway: Gateway, stream: bool
) -> None:
    """It runs rarely; until then thousands of answers would stay in memory."""
    await asked(gateway, stream)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            await asked(gateway, stream)
        gc.collect()
        ours = Counter(type(left).__qualname__ for left in gc.garbage if of_ours(left))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not ours


async def asked(gateway: Gateway, stream: bool) -> None:
    async with gateway.post_chat("[[count n=20 pace=0.001]]", stream=stream) as response:
        assert response.status == 200
        await response.read()


def of_ours(left: Any) -> bool:
    return type(left).__module__.startswith(ROOMS)
