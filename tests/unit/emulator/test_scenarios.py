"""What each scenario with a fixed answer sends."""

from __future__ import annotations

import pytest

from emulator.scenarios.registry import SCENARIOS
from tests.unit.emulator.support import EmulatorClient

HELLO = '{"delta":"Hel"}\n{"delta":"lo, "}\n{"delta":"world"}\n{"delta":"!\\n"}\n'
USAGE = '{"usage":{"input_tokens":42,"output_tokens":5,"status":"ok"}}\n'
GREETING = '{"delta":"你好"}\n{"delta":"世界"}\n{"delta":"👋🏽"}\n{"delta":"。"}\n'
BEAT = '{"delta":"heartbeat"}\n'
FIRST, REST = HELLO[:16], HELLO[16:]

# Marker, status, whole body.
WHOLE = [
    (
        "heartbeats",
        200,
        BEAT
        + '{"delta":"heartbeat 2"}\n'
        + FIRST
        + 2 * BEAT
        + '{"delta":"heartbeat 3"}\n'
        + REST
        + USAGE,
    ),
    (
        "heartbeat_word",
        200,
        '{"delta":"max_"}\n'
        + BEAT
        + '{"delta":"_interval"}\n{"delta":"\\n- "}\n'
        + BEAT
        + '{"delta":"\\n"}\n'
        + BEAT
        + USAGE,
    ),
    ("heartbeats_only n=2", 200, BEAT * 2),
    (
        "reasoning",
        200,
        '{"reasoning_delta":"First, "}\n{"reasoning_delta":"greet."}\n'
        '{"delta":"","reasoning_delta":" Done."}\n' + HELLO + USAGE,
    ),
    ("thinking", 200, '{"thinking_delta":"Hm."}\n' + HELLO + USAGE),
    (
        "tracedata",
        200,
        FIRST
        + '{"tracedata":"tr-demo-0001"}\n'
        + REST
        + USAGE.rstrip("}\n")
        + '},"tracedata":"tr-demo-0001"}\n',
    ),
    (
        "usage_strings",
        200,
        HELLO + '{"usage":{"input_tokens":"42","output_tokens":"5","status":""}}\n',
    ),
    ("usage_early", 200, FIRST + USAGE + REST),
    ("usage_null", 200, HELLO + '{"usage":null}\n'),
    ("no_usage", 200, HELLO),
    (
        "nul_bom",
        200,
        '{"delta":"' + "\\u0000" * 4 + '\\n\\n"}\n{"delta":"\ufeffHel"}\n' + REST + USAGE,
    ),
    (
        "crlf",
        200,
        '{"delta":"Hel"}\r\n\r\n{"delta":"lo, "}\r\n  \r\n{"delta":"world"}\r\n'
        '{"delta":"!\\n"}\r\n' + USAGE.rstrip(),
    ),
    (
        "malformed",
        200,
        FIRST
        + '{"delta":"br\nnot json at all\n{"delta":"lo, "}\n"a bare string"\n7\n'
        + '{"delta":"world"}\n{"delta":"!\\n"}\n'
        + USAGE,
    ),
    (
        "null_members",
        200,
        FIRST
        + '{"delta":null}\n{"delta":5}\n'
        + REST
        + '{"delta":null,"usage":{"input_tokens":42,"output_tokens":5}}\n',
    ),
    ("split_utf8", 200, GREETING + USAGE),
    ("one_byte", 200, GREETING + USAGE),
    ("split_surrogates", 200, '{"delta":"Hi \\ud83d"}\n{"delta":"\\udc4b!"}\n' + USAGE),
    ("bare_first", 200, "upstream connect error\n" + HELLO + USAGE),
    ("error_200", 200, '{"status_code":500,"msg":"model overloaded (made up)","data":""}\n'),
    ("detail_200", 200, '{"detail":"internal error (made up)"}\n'),
    ("error_middle", 200, FIRST + '{"detail":"internal error (made up)"}\n'),
    ("empty", 200, ""),
    (
        "role_leak",
        200,
        HELLO[: HELLO.index('{"delta":"!')]
        + '{"delta":"!\\n<|e"}\n{"delta":"nd|>\\n<|user|>\\nmore?"}\n'
        + USAGE,
    ),
    ("gzip", 200, HELLO + USAGE),
    ("complete", 200, HELLO + USAGE),
    ("complete framing=length", 200, HELLO + USAGE),
    ("complete framing=close", 200, HELLO + USAGE),
    ("truncate framing=close how=fin after=1", 200, FIRST + '{"delta":"wor'),
    ("truncate framing=close how=fin after=4 at=line", 200, HELLO),
    ("status code=400", 400, '{"detail": "Bad request (made up)"}'),
    ("status code=403", 403, '{"detail": "Not allowed (made up)"}'),
    ("status code=404", 404, '{"detail": "Not Found"}'),
    ("status code=413", 413, '{"detail": "Request too large (made up)"}'),
    ("status code=500 body=json", 500, '{"detail": "Internal Server Error"}'),
    ("status code=503 body=empty", 503, ""),
    ("redirect", 307, ""),
]

# Marker, status, a part of the body.
PART = [
    ("html_200", 200, "<title>504 Gateway Time-out</title>"),
    ("html_middle", 200, '{"delta":"lo, "}\n<html>'),
    ("status code=422", 422, '"loc"'),
    ("status", 500, "<h1>500 Internal Server Error</h1>"),
    ("status code=502", 502, "502 Bad Gateway"),
    ("status code=503", 503, "503 Service Temporarily Unavailable"),
    ("status code=504", 504, "504 Gateway Time-out"),
]

# Form, value, text.
JSON_FORMS = [
    ("plain", '{"ok": true}'),
    ("fence", '```json\n{"ok": true}\n```'),
    ("bare", '\n```\n{"ok": true}\n```\n'),
    ("prose", 'Here you are:\n```json\n{"ok": true}\n```\nIs there anything else?'),
    ("broken", '{"ok": true'),
    ("cut", '```json\n{"ok": true'),
]

# Tested below, in test_emulator_chat.py and test_emulator_endings.py.
ELSEWHERE = {
    *("echo", "say", "count", "burst", "repetition", "long_line", "unauthorized"),
    *("slow", "silent", "no_headers", "dribble", "endless", "heartbeats_forever"),
    *("reset", "reset_before_headers", "json_answer"),
    *("call", "ignore_tools", "fragment", "obey"),
}


@pytest.mark.parametrize(("marker", "status", "body"), WHOLE)
async def test_each_scenario_sends_exactly_its_bytes(
    member: EmulatorClient, marker: str, status: int, body: str
) -> None:
    reply = await member.chat(f"please [[{marker}]] now")
    assert (reply.status, reply.raw.decode()) == (status, body)


@pytest.mark.parametrize(("marker", "status", "part"), PART)
async def test_each_error_page_is_recognisable(
    member: EmulatorClient, marker: str, status: int, part: str
) -> None:
    reply = await member.chat(f"[[{marker}]]")
    assert reply.status == status
    assert part in reply.raw.decode()


@pytest.mark.parametrize(("form", "text"), JSON_FORMS)
async def test_json_comes_in_the_form_that_is_asked_for(
    member: EmulatorClient, form: str, text: str
) -> None:
    assert (await member.chat(f"[[json_answer form={form}]]")).text == text


async def test_the_same_question_gets_other_json_the_second_time(member: EmulatorClient) -> None:
    marker = "[[json_answer form=broken then=plain later=%5B1%5D]]"
    assert (await member.chat(marker)).text == '{"ok": true'
    assert (await member.chat(marker)).text == "[1]"


def test_every_scenario_has_a_test_and_a_summary() -> None:
    tested = {marker.split()[0] for marker, *_ in WHOLE + PART} | ELSEWHERE
    assert tested == set(SCENARIOS)
    assert all(known.summary.endswith(".") for known in SCENARIOS.values())
