"""Draws the faults of requests from one seed: evenly over time, or in storms."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from chaos.fault import FAULTS, HARMLESS, ChaosFault


@dataclass(frozen=True)
class Trouble:
    """Describes what one request meets: a fault of the proxy, a marker for the emulator, or
    nothing.

    breaks: no answer to it can be whole. soft: the answer must be whole all the same.
    """

    fault: ChaosFault | None = None
    marker: str = ""
    breaks: bool = False
    soft: bool = False


NONE = Trouble(soft=True)

# Draws what a request of a kind meets that is sent at a time.
Source = Callable[[random.Random, str, float], Trouble]

# What Fitten itself may do wrong. Nothing that makes an account pause, which would affect others:
# that has a part of its own, with `storms`.
_UPSTREAM = (
    Trouble(marker="status code=503", breaks=True),
    Trouble(marker="status code=500", breaks=True),
    Trouble(marker="unauthorized times=1", soft=True),
    Trouble(marker="truncate how=reset after=3", breaks=True),
    Trouble(marker="truncate how=close after=3 at=line framing=close", breaks=True),
)
# These kinds say themselves what the emulator is to do.
_OWN_MARKER = frozenset({"completion", "tools", "stop"})


def never(dice: random.Random, kind: str, at: float) -> Trouble:
    """Return a schedule without faults."""
    return NONE


def mixed(share: float) -> Source:
    """Return a schedule in which this share of all requests has a fault of any kind."""

    def draw(dice: random.Random, kind: str, at: float) -> Trouble:
        if dice.random() >= share:
            return NONE
        if kind not in _OWN_MARKER and dice.random() < 0.3:
            return dice.choice(_UPSTREAM)
        fault = dice.choice(list(FAULTS))
        place = dice.choice((dice.randrange(1, 150), dice.randrange(150, 800)))
        times = dice.choice((1, 9))
        soft = fault in HARMLESS or (fault == "refuse" and times == 1)
        return Trouble(ChaosFault(fault, place, times), soft=soft)

    return draw


# Of what each storm is made. A 429 without Retry-After makes the gateway choose the pause.
_STORMS: tuple[tuple[Trouble, ...], ...] = (
    (
        Trouble(marker="status code=503", breaks=True),
        Trouble(marker="status code=503 times=1"),
        Trouble(ChaosFault("refuse", 0, 9), breaks=True),
        Trouble(ChaosFault("reset", 40, 9), breaks=True),
    ),
    (
        Trouble(marker="status code=429 retry_after=1", breaks=True),
        Trouble(marker="status code=429 retry_after=1 times=1"),
        Trouble(marker="status code=429", breaks=True),
    ),
    (
        Trouble(ChaosFault("hang", 40, 9), breaks=True),
        Trouble(ChaosFault("close", 40, 9), breaks=True),
        Trouble(marker="status code=500", breaks=True),
    ),
)
_STORM = 0.8  # of the requests in a storm
_CALM = 0.4  # of the time, at its end


def storms(seconds: float, every: float) -> Source:
    """Return a schedule of storms, in which most requests fail in one way, and calm between them.

    It ends with calm. seconds: length of the whole. every: from the start of one storm to the next.
    """

    def draw(dice: random.Random, kind: str, at: float) -> Trouble:
        number, into = divmod(at, every)
        calm = at > seconds * (1 - _CALM) or into > every / 2
        if calm or dice.random() >= _STORM:
            return NONE
        found = dice.choice(_STORMS[int(number) % len(_STORMS)])
        if found.marker and kind in _OWN_MARKER:
            return Trouble(ChaosFault("refuse", 0, 9), breaks=True)
        return found

    return draw
