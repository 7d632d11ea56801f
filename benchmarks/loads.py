"""Defines the texts of the benchmark: what is asked, and what the upstream answers.

A request names its answer by a marker in its text, since nothing else of a request reaches
the upstream through every gateway. Every answer exists twice: as Fitten writes it and as
the gateway writes it, so that a plain proxy can pass the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

SMALL, BURST = 8, 256  # pieces

_WORDS = ("Here", " is", " the", " plan:\n", "return ", 'f"{x}"', "，然后", " done")
_USAGE = {"input_tokens": 42, "output_tokens": 8, "status": "ok"}

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
NATIVE_HEAD = _HEAD % b"application/x-ndjson"
OPENAI_HEAD = _HEAD % b"text/event-stream; charset=utf-8"

STAMP = b'"@%018d"'  # a paced piece's text: when it was sent, in ns of the monotonic clock
STAMP_MARK = b'"@'
STAMP_DIGITS = 18


@dataclass(frozen=True, slots=True)
class BenchLoad:
    """Describes a closed loop: each of some connections asks again as soon as it is answered."""

    name: str
    unit: str
    body: bytes
    pieces: int
    units: int  # in one answer
    connections: int


@dataclass(frozen=True, slots=True)
class PacedLoad:
    """Streams that get a piece at every turn."""

    name: str
    streams: int
    pieces: int
    pace: int  # milliseconds
    unit: str = "piece"
    tls: bool = False  # to the upstream
    ramp: float = 0.5  # seconds to open the streams in

    def gentler(self) -> PacedLoad:
        """Return a smaller load, for targets that could not keep up."""
        return replace(self, streams=self.streams // 20)


def request_body(marker: str, filler: Iterable[dict[str, str]] = ()) -> bytes:
    """Return a chat completion request whose answer is chosen by the marker."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        *filler,
        {"role": "user", "content": f"Say something. [[bench:{marker}]]"},
    ]
    body = {"model": "fitten-code", "stream": True, "messages": messages}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def conversation(size: int) -> list[dict[str, str]]:
    """Return about `size` bytes of talk about code, half of it Chinese, in twenty turns."""
    line = 'def f(x): return g("a\\tb", x)  # 这里调用函数并返回它的结果，注意边界情况与错误处理\n'
    once = size // 20 // len(json.dumps(line, ensure_ascii=False).encode())
    return [{"role": ("user", "assistant")[i % 2], "content": line * once} for i in range(20)]


CLOSED = (
    BenchLoad("small", "request", request_body("small"), SMALL, 1, 32),
    BenchLoad("burst", "piece", request_body("burst"), BURST, BURST, 16),
    BenchLoad("prompt", "request", request_body("small", conversation(500_000)), SMALL, 1, 8),
)

PACED = PacedLoad("paced", 200, 250, 20)
# Half the streams: the upstream's own TLS must not become the bottleneck.
PACED_TLS = PacedLoad("paced-tls", 100, 250, 20, tls=True)
OPEN = PacedLoad("open", 1000, 12, 500, ramp=2.0)
# The same for `--quick`.
QUICK_PACED = replace(PACED, pieces=60)
QUICK_PACED_TLS = replace(PACED_TLS, pieces=60)
QUICK_OPEN = replace(OPEN, pieces=6, ramp=1.0)


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def native_line(text: bytes) -> bytes:
    """Return a piece as Fitten writes it; `text` is a JSON string."""
    return b'{"delta":' + text + b"}\n"


def frame(delta: bytes, finish: bytes = b"null") -> bytes:
    """Return a frame as the gateway writes it."""
    return (
        b'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk"'
        b',"created":1735689600,"model":"fitten-code","system_fingerprint":null,"choices":[{"index"'
        b':0,"delta":{' + delta + b'},"logprobs":null,"finish_reason":' + finish + b"}]}\n\n"
    )


def openai_line(text: bytes) -> bytes:
    """Return a piece as the gateway writes it; `text` is a JSON string."""
    return frame(b'"content":' + text)


NATIVE_END = chunk(json.dumps({"usage": _USAGE}).encode() + b"\n") + LAST_CHUNK
OPENAI_BEGIN = chunk(frame(b'"role":"assistant","content":""'))
OPENAI_END = chunk(frame(b"", b'"stop"') + b"data: [DONE]\n\n") + LAST_CHUNK


def _texts(count: int) -> list[bytes]:
    words = [json.dumps(word, ensure_ascii=False).encode() for word in _WORDS]
    return [words[i % len(words)] for i in range(count)]


def native_answer(count: int) -> bytes:
    """Return a whole answer of Fitten's, one chunk a piece."""
    lines = b"".join(chunk(native_line(text)) for text in _texts(count))
    return NATIVE_HEAD + lines + NATIVE_END


def openai_answer(count: int) -> bytes:
    """Return the same answer as the gateway writes it."""
    frames = b"".join(chunk(openai_line(text)) for text in _texts(count))
    return OPENAI_HEAD + OPENAI_BEGIN + frames + OPENAI_END


def percentile(values: list[float], share: float) -> float:
    """Return the value below which that share of the values lies; 0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0
