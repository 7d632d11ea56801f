"""Plans what is sent when, and what happens to the gateway meanwhile, all from one seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from chaos.fault_schedule import NONE, Source, Trouble, never

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
# References of which each leads to two more.
_DOUBLING: dict[str, Any] = {
    f"d{depth}": {"anyOf": [{"$ref": f"#/$defs/d{depth + 1}"}] * 2} for depth in range(24)
} | {"d24": {"type": "string"}}
_COSTLY_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"properties": {"city": {"$ref": "#/$defs/d0"}}, "$defs": _DOUBLING},
    },
}
_MARKUP = ("<", "[", "\n{", "<tool_call><t>", "\n```")
_MARKUP_END = "</t></tool_call>."  # it ends outside a call, so that it is not repaired
_NOTATIONS = (
    "auto",
    "auto",
    "tool_call",
    "auto",
    "deepseek_v31",
)  # `auto`: what the prompt asks for
# A text that the hybrid notation has as it is, in a block of its own.
_CODE = 'if (a < b) {\n\tputs("</arg>\\n");\n}\n</call>\n' * 3
_MARKUP_SIZE = 32_768  # characters


@dataclass(frozen=True)
class PlannedRequest:
    """Describes one request to be sent.

    at: seconds after the beginning. expected: the text of a whole answer, or the JSON of the tool's
    arguments; None when it cannot be known. leaves: seconds after which the client leaves. cut: the
    answer ends before the upstream's does, by a stop string.
    """

    tag: str
    at: float
    kind: str
    path: str
    body: dict[str, Any]
    trouble: Trouble = NONE
    expected: str | None = None
    leaves: float | None = None
    cut: bool = False


@dataclass(frozen=True)
class Event:
    """Describes an event: `reload`, `restart`, `kill` or `idle` (idle connections are reset)."""

    at: float
    kind: str


class Planner:
    """Draws requests.

    seed: the same one gives the same requests. name: begins their tags. trouble: the schedule of
    faults. longest: seconds that the longest stream takes.
    """

    def __init__(
        self, seed: int, *, name: str, trouble: Source = never, longest: float = 3.0
    ) -> None:
        self._random = random.Random(f"{name} {seed}")
        self._name = f"{name}-{seed}"
        self._trouble = trouble
        self._longest = longest
        self._number = 0

    def at_rate(
        self, per_second: float, seconds: float, kinds: dict[str, int]
    ) -> Iterator[PlannedRequest]:
        """Return requests that begin evenly over a time; kinds: with their weights."""
        for index in range(int(per_second * seconds)):
            (kind,) = self._random.choices(list(kinds), list(kinds.values()))
            yield self.request(kind, (index + self._random.random()) / per_second)

    def request(self, kind: str, at: float = 0.0) -> PlannedRequest:
        """Return the next request.

        kind: `stream`, `whole`, `tools`, `completion`, `leave`, `stop`; or what is made to be
            costly: `markup` in the answer, the `schema` of a tool, or the `values` of the body.
        """
        self._number += 1
        tag = f"{self._name}-{self._number:06d}"
        trouble = self._trouble(self._random, kind, at)
        prefix = f"tag={tag} {trouble.fault or ''}"
        if kind == "completion":
            return self._completion(tag, at, trouble, prefix)
        return self._chat(tag, at, kind, trouble, prefix)

    def _completion(self, tag: str, at: float, trouble: Trouble, prefix: str) -> PlannedRequest:
        draw = self._random
        text = f"value_{draw.randrange(10**6)}()"
        prompt = f"# {prefix}\n# [[complete text={text} delay={draw.choice((0, 0.1, 0.3))}]]\n"
        body = {"prompt": prompt, "suffix": "\nend()\n", "max_tokens": 64}
        return PlannedRequest(tag, at, "completion", "/v1/completions", body, trouble, text)

    def _chat(
        self, tag: str, at: float, kind: str, trouble: Trouble, prefix: str
    ) -> PlannedRequest:
        draw = self._random
        text = " ".join(draw.choices(_WORDS, k=draw.randrange(2, 60)))
        leaves, cut = None, False
        body: dict[str, Any] = {"stream": kind != "whole"}
        if kind in ("tools", "schema"):
            city, days = draw.choice(_WORDS), draw.randrange(9)
            if kind == "tools" and days % 2:
                city = _CODE
            text = json.dumps({"city": city, "days": days})
            tool = _TOOL if kind == "tools" else _COSTLY_TOOL
            body = {"tools": [tool], "stream": draw.random() < 0.7}
            call = f"call tool=get_weather notation={_NOTATIONS[days % len(_NOTATIONS)]}"
            plain = f"{call} arguments={quote(text)} piece=12"
        elif kind == "markup":
            markup = draw.choice(_MARKUP)
            text = markup * (_MARKUP_SIZE // len(markup)) + _MARKUP_END
            body["tools"] = [_TOOL]
            plain = f"say text={quote(text)} piece=4096 pace=0"
        else:
            # Of one that is left, much would still come: who goes on with it is found out.
            longest = self._longest * (3 if kind == "leave" else 1)
            pace = min(0.5, draw.random() * longest / max(1, len(text) // 8))
            pace = 0.0 if kind == "whole" and draw.random() < 0.7 else pace
            plain = f"say text={quote(text)} piece=8 pace={pace:.4f}"
        if kind == "values":
            body["metadata"] = {"x": [[]] * 20_000}
        if kind == "leave":
            leaves = 0.02 + draw.random() * self._longest * 0.8
        if kind == "stop":
            body["stop"], cut = [" 12"], " 12" in text
            text = text.partition(" 12")[0]
        body["messages"] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"[[{trouble.marker or plain}]] {prefix}"},
        ]
        expected = None if trouble.marker else text
        path = "/v1/chat/completions"
        return PlannedRequest(tag, at, kind, path, body, trouble, expected, leaves, cut)


def events(seed: int, seconds: float, every: float, kinds: tuple[str, ...]) -> list[Event]:
    """Return what happens to the gateway: each kind in turn, in the first two thirds of the time.

    In the last third one process runs, whose descriptors and memory are measured.
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
