"""Defines scenarios with odd streams: members, lines and chunks that careless readers get wrong."""

from __future__ import annotations

from itertools import cycle

from emulator.answer import HELLO, HELLO_USAGE, delta_lines, json_line
from emulator.errors import nginx_page
from emulator.scenarios.registry import ScenarioTurn, scenario

_GREETING = ("你好", "世界", "👋🏽", "。")
_USAGE_LINE = json_line({"usage": HELLO_USAGE})


@scenario
async def tracedata(turn: ScenarioTurn) -> None:
    """A trace id in a line of its own, and again beside the usage."""
    await turn.answer.delta(HELLO[0])
    await turn.answer.line({"tracedata": "tr-demo-0001"})
    for piece in HELLO[1:]:
        await turn.answer.delta(piece)
    await turn.answer.usage(tracedata="tr-demo-0001")


@scenario
async def usage_strings(turn: ScenarioTurn) -> None:
    """Token counts as strings."""
    await turn.answer.hello()
    await turn.answer.usage({"input_tokens": "42", "output_tokens": "5", "status": ""})


@scenario
async def usage_early(turn: ScenarioTurn) -> None:
    """The usage before most of the text."""
    await turn.answer.delta(HELLO[0])
    await turn.answer.usage()
    for piece in HELLO[1:]:
        await turn.answer.delta(piece)


@scenario
async def usage_null(turn: ScenarioTurn) -> None:
    """`"usage": null` at the end."""
    await turn.answer.hello()
    await turn.answer.usage(None)


@scenario
async def no_usage(turn: ScenarioTurn) -> None:
    """An ordinary answer without a usage line."""
    await turn.answer.hello()


@scenario
async def nul_bom(turn: ScenarioTurn) -> None:
    """A delta of NULs and line feeds, then one that begins with a byte order mark."""
    for piece in ("\0\0\0\0\n\n", "\ufeff" + HELLO[0], *HELLO[1:]):
        await turn.answer.delta(piece)
    await turn.answer.usage()


@scenario
async def crlf(turn: ScenarioTurn) -> None:
    """CRLF line ends, blank lines, and no line end after the last line."""
    lines = [json_line({"delta": piece}).rstrip() for piece in HELLO]
    lines[1:1] = [b""]
    lines[3:3] = [b"  "]
    for line in lines:
        await turn.answer.write(line + b"\r\n")
    await turn.answer.write(_USAGE_LINE.rstrip())


@scenario
async def malformed(turn: ScenarioTurn) -> None:
    """Broken JSON, plain text, a bare string and a bare number between the deltas."""
    first, second, *others = (json_line({"delta": piece}) for piece in HELLO)
    bad = (b'{"delta":"br\n', b"not json at all\n")
    scalars = (b'"a bare string"\n', b"7\n")
    for line in (first, *bad, second, *scalars, *others, _USAGE_LINE):
        await turn.answer.write(line)


@scenario
async def null_members(turn: ScenarioTurn) -> None:
    """`null` and a number in place of `delta`."""
    await turn.answer.delta(HELLO[0])
    await turn.answer.line({"delta": None})
    await turn.answer.line({"delta": 5})
    for piece in HELLO[1:]:
        await turn.answer.delta(piece)
    await turn.answer.line({"delta": None, "usage": {"input_tokens": 42, "output_tokens": 5}})


@scenario
async def split_utf8(turn: ScenarioTurn) -> None:
    """Chinese and emoji in chunks cut inside characters and lines."""
    body = delta_lines(_GREETING) + _USAGE_LINE
    sizes = cycle((1, 10, 3, 2, 5))
    while body:
        size = next(sizes)
        await turn.answer.write(body[:size])
        body = body[size:]


@scenario
async def one_byte(turn: ScenarioTurn) -> None:
    """The same text, one byte per chunk."""
    for byte in delta_lines(_GREETING) + _USAGE_LINE:
        await turn.answer.write(bytes((byte,)))


@scenario
async def split_surrogates(turn: ScenarioTurn) -> None:
    r"""An emoji as two \u escapes, one half in each of two deltas."""
    for line in (b'{"delta":"Hi \\ud83d"}\n', b'{"delta":"\\udc4b!"}\n', _USAGE_LINE):
        await turn.answer.write(line)


@scenario
async def bare_first(turn: ScenarioTurn) -> None:
    """A first line that is not JSON, then an ordinary answer."""
    await turn.answer.write(b"upstream connect error\n")
    await turn.answer.hello()
    await turn.answer.usage()


@scenario
async def error_200(turn: ScenarioTurn) -> None:
    """HTTP 200 with an error object as the only line."""
    await turn.answer.line({"status_code": 500, "msg": "model overloaded (made up)", "data": ""})


@scenario
async def detail_200(turn: ScenarioTurn) -> None:
    """HTTP 200 with a `detail` as the only line."""
    await turn.answer.line({"detail": "internal error (made up)"})


@scenario
async def error_middle(turn: ScenarioTurn) -> None:
    """A `detail` after the first delta, then the end."""
    await turn.answer.delta(HELLO[0])
    await turn.answer.line({"detail": "internal error (made up)"})


@scenario
async def html_200(turn: ScenarioTurn) -> None:
    """HTTP 200 with the proxy's error page."""
    await turn.answer.write(nginx_page(504).encode())


@scenario
async def html_middle(turn: ScenarioTurn) -> None:
    """The proxy's error page after two deltas, then the end."""
    await turn.answer.write(delta_lines(HELLO[:2]))
    await turn.answer.write(nginx_page(504).encode())


@scenario
async def empty(turn: ScenarioTurn) -> None:
    """HTTP 200 with an empty body."""
    await turn.answer.open()


@scenario
async def role_leak(turn: ScenarioTurn, *, split: int = 0, pace: float = 0.01) -> None:
    """The model writes past its turn; with split=1 over more deltas, and for ever."""
    tail = (
        ("!\n<", "|e", "nd|", ">\n<|user|>\nmore?")
        if split
        else (
            "!\n<|e",
            "nd|>\n<|user|>\nmore?",
        )
    )
    for piece in (*HELLO[:3], *tail):
        await turn.answer.delta(piece)
    while split:
        await turn.answer.delta(" more", pace)
    await turn.answer.usage()
