"""What is sent when, and what goes wrong: all of it from one seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

_WORDS = (
    "the",
    "quick",
    "grey",
    "fox",
    "über",
    "einen",
    "lazy",
    "dog",
    "你好",
    "while",
    "rain",
    "12",
)
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
# What Fitten itself may do wrong, as the emulator's marker and whether a whole answer may follow.
# Not 429: it makes an account pause, which strikes others.
_UPSTREAM_FAULTS = (
    ("status code=503", False),
    ("status code=500", False),
    ("unauthorized times=1", True),
    ("truncate how=reset after=3", False),
    ("truncate how=close after=3 at=line framing=close", False),
)


@dataclass(frozen=True)
class Request:
    """One request to be sent.

    at: seconds after the beginning. expected: the text, or the JSON of the tool's arguments,
    of a whole answer; None when it cannot be known. breaks: a whole answer would be a lie.
    leaves: seconds after which the client goes away. cut: the answer ends before the
    upstream's does, by a stop string. soft: it must become whole while nothing happens to
    the gateway.
    """

    tag: str
    at: float
    kind: str
    path: str
    body: dict[str, Any]
    fault: str
    expected: str | None
    leaves: float | None = None
    soft: bool = True
    breaks: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Event:
    """What happens to the gateway: `reload`, `restart`, `kill` or `idle` (connections drop)."""

    at: float
    kind: str


class Planner:
    """Draws requests.

    seed: the same one gives the same requests. name: begins their tags. faults: the share of
    requests that meet one.
    longest: seconds that the longest stream takes.
    """

    def __init__(self, seed: int, *, name: str, faults: float, longest: float = 3.0) -> None:
        self._random = random.Random(f"{name} {seed}")
        self._name = f"{name}-{seed}"
        self._faults = faults
        self._longest = longest
        self._number = 0

    def at_rate(
        self, per_second: float, seconds: float, kinds: dict[str, int]
    ) -> Iterator[Request]:
        """Requests that begin evenly over a time; kinds: with their weights."""
        count = int(per_second * seconds)
        for index in range(count):
            (kind,) = self._random.choices(list(kinds), list(kinds.values()))
            yield self.request(kind, (index + self._random.random()) / per_second)

    def request(self, kind: str, at: float = 0.0) -> Request:
        """The next one: a `stream`, `whole`, `tools`, `completion`, `leave` or `stop`."""
        self._number += 1
        tag = f"{self._name}-{self._number:06d}"
        draw = self._random
        order, marker, breaks, soft = self._fault(kind)
        prefix = f"tag={tag} {order}"
        if kind == "completion":
            text = f"value_{draw.randrange(10**6)}()"
            prompt = f"# {prefix}\n# [[complete text={text} delay={draw.choice((0, 0.1, 0.3))}]]\n"
            body: dict[str, Any] = {"prompt": prompt, "suffix": "\nend()\n", "max_tokens": 64}
            path = "/v1/completions"
            return Request(tag, at, kind, path, body, order, text, soft=soft, breaks=breaks)
        text = " ".join(draw.choices(_WORDS, k=draw.randrange(2, 60)))
        leaves, cut, body = None, False, {"stream": kind != "whole"}
        if kind == "tools":
            text = json.dumps({"city": draw.choice(_WORDS), "days": draw.randrange(9)})
            body = {"tools": [_TOOL], "stream": draw.random() < 0.7}
            plain = f"call tool=get_weather arguments={quote(text)} piece=12"
        else:
            pace = min(0.5, draw.random() * self._longest / max(1, len(text) // 8))
            pace = 0.0 if kind == "whole" and draw.random() < 0.7 else pace
            plain = f"say text={quote(text)} piece=8 pace={pace:.4f}"
        if kind == "leave":
            leaves = draw.random() * self._longest * 0.8
        if kind == "stop":
            cut = True
            before, _, _ = text.partition(" 12")
            body["stop"], text = [" 12"], before
        body["messages"] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"[[{marker or plain}]] {prefix}"},
        ]
        expected = None if marker else text
        path = "/v1/chat/completions"
        return Request(
            tag, at, kind, path, body, order or marker, expected, leaves, soft, breaks, cut
        )

    def _fault(self, kind: str) -> tuple[str, str, bool, bool]:
        """The proxy's order, the emulator's marker, whether it breaks and whether it must not."""
        draw = self._random
        if draw.random() >= self._faults:
            return "", "", False, True
        if kind not in ("completion", "tools", "stop") and draw.random() < 0.3:
            marker, soft = draw.choice(_UPSTREAM_FAULTS)
            return "", marker, not soft, soft
        fault = draw.choice(("refuse", "reset", "close", "hang", "garbage", "stall", "trickle"))
        at = draw.choice((draw.randrange(1, 150), draw.randrange(150, 1500)))
        times = draw.choice((1, 9))
        return (
            f"fault={fault}:{at}:{times}",
            "",
            False,
            (fault == "refuse" and times == 1) or fault in ("stall", "trickle"),
        )


def events(seed: int, seconds: float, every: float, kinds: tuple[str, ...]) -> list[Event]:
    """What happens to the gateway: each kind in turn, in the first two thirds of the time.

    The last third belongs to one process, whose descriptors and memory are looked at.
    """
    draw = random.Random(f"events {seed}")
    happens = []
    at = every / 2
    index = 0
    while at < seconds * 2 / 3:
        if index % len(kinds) == 0:
            order = draw.sample(kinds, len(kinds))
        happens.append(Event(at + draw.random() * every / 4, order[index % len(kinds)]))
        index += 1
        at += every
    return happens
