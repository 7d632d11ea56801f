"""How answers end: cut by the emulator, left by the client, or complete."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import pytest

from emulator import Emulator, WrittenCall
from tests.unit.emulator.support import CHAT, EmulatorClient
from tests.waiting import LONGEST_WAIT, NEVER, eventually

MODELS = "/codeapi/chat/models"


async def read_into(got: bytearray, reply: aiohttp.ClientResponse) -> None:
    async for chunk in reply.content.iter_any():
        got += chunk


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("how", ["reset", "fin"])
@pytest.mark.parametrize("at", ["middle", "line"])
async def test_a_truncated_answer_fails_after_its_text(
    emu: Emulator, member: EmulatorClient, framing: str, how: str, at: str
) -> None:
    marker = f"[[truncate framing={framing} how={how} at={at} after=2]]"
    async with member.open_chat(marker) as reply:
        got = bytearray()
        with pytest.raises(aiohttp.ClientError):
            await read_into(got, reply)
    half = b'{"delta":"wor' if at == "middle" else b""
    assert got == b'{"delta":"Hel"}\n{"delta":"lo, "}\n' + half
    call = emu.calls[-1]
    assert call.done
    assert not call.closed
    assert call.bytes_sent == len(got)


# On the wire, because aiohttp's client takes the reset of a close-delimited body for its end.
@pytest.mark.parametrize("marker", ["reset after=1", "truncate framing=close how=reset"])
async def test_a_reset_reaches_the_client_as_a_reset(
    emu: Emulator, member: EmulatorClient, marker: str
) -> None:
    host, port = emu.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"inputs": f"<|user|>\n[[{marker}]]\n<|end|>"}).encode()
    head = (
        f"POST /codeapi/chat_auth HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member.access}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_no_answer_at_all_before_a_reset(member: EmulatorClient) -> None:
    with pytest.raises(aiohttp.ClientOSError):
        await member.chat("[[reset_before_headers]]")


@pytest.mark.parametrize(
    ("marker", "start"),
    [
        ("endless", b'{"delta":"w0 "}\n'),
        ("endless pace=0 size=10000", b'{"delta":"w0...'),
        ("heartbeats_forever", b'{"delta":"heartbeat"}\n'),
        ("dribble", b"\n"),
        ("role_leak split=1", b'{"delta":"Hel"}\n'),
        ("slow first=0 gap=3600", b'{"delta":"w0 "}\n'),
        ("silent", b""),
    ],
)
async def test_a_client_that_leaves_is_recorded_and_nothing_is_logged(
    emu: Emulator,
    member: EmulatorClient,
    marker: str,
    start: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with member.open_chat(f"[[{marker}]]") as reply:
        assert reply.status == 200
        assert (await reply.content.read(len(start))) == start
        call = emu.calls[-1]
        assert not call.closed
        reply.close()
    await assert_closed(call)
    assert caplog.records == []


async def test_a_client_that_leaves_before_any_head_is_recorded(
    emu: Emulator, member: EmulatorClient
) -> None:
    asking = asyncio.create_task(member.chat("[[no_headers]]"))
    (call,) = await eventually(lambda: emu.calls_to(CHAT))
    asking.cancel()
    await assert_closed(call)
    assert (call.status, call.bytes_sent) == (0, 0)


async def assert_closed(call: WrittenCall) -> None:
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    assert not call.done


async def test_a_client_that_does_not_read_makes_the_emulator_wait(
    emu: Emulator, member: EmulatorClient
) -> None:
    async with member.open_chat("[[endless pace=0 size=100000]]"):
        call, before = emu.calls[-1], -1
        async with asyncio.timeout(LONGEST_WAIT):
            while call.bytes_sent > before:  # for ever, if nothing held it back
                before = call.bytes_sent
                await asyncio.sleep(0.3)
        assert not call.done
        assert not call.closed


async def test_a_role_marker_is_cut_over_four_deltas(member: EmulatorClient) -> None:
    async with member.open_chat("[[role_leak split=1]]") as reply:
        lines = [await reply.content.readline() for _ in range(8)]
    assert lines[3:7] == [
        b'{"delta":"!\\n<"}\n',
        b'{"delta":"|e"}\n',
        b'{"delta":"nd|"}\n',
        b'{"delta":">\\n<|user|>\\nmore?"}\n',
    ]


async def test_the_head_of_a_slow_answer_comes_at_once(member: EmulatorClient) -> None:
    before = time.perf_counter()
    async with member.open_chat("[[slow first=0.2 gap=0.1 n=3]]") as reply:
        await reply.content.readline()
        first = time.perf_counter() - before
        await reply.read()
    assert first >= 0.19  # a loop's clock may be a millisecond behind
    assert time.perf_counter() - before >= 0.38


async def test_pauses_can_be_ended(emu: Emulator, member: EmulatorClient) -> None:
    """And the head came before the first of them."""
    async with member.open_chat("[[slow first=3600 gap=3600 n=3]]") as reply:
        for number in range(3):
            emu.release()
            assert await reply.content.readline() == b'{"delta":"w%d "}\n' % number
    emu.account("demo_user").scenarios.add("models_slow")
    emu.change_slow(NEVER)
    headers = {"Authorization": f"Bearer {member.access}"}
    asking = asyncio.create_task(member.request("GET", MODELS, headers=headers))
    await eventually(lambda: emu.calls_to(MODELS))
    emu.release()
    assert (await asking).status == 200


async def test_the_default_answer_keeps_its_pace(client: EmulatorClient) -> None:
    async with Emulator(pace=0.005) as emu:
        client.url = emu.url
        await client.login()
        before = time.perf_counter()
        reply = await client.chat("hi")
        assert time.perf_counter() - before >= 0.005 * (len(reply.lines) - 1)


async def test_a_whole_answer_is_recorded_with_what_was_asked(
    emu: Emulator, member: EmulatorClient
) -> None:
    reply = await member.chat("[[no_usage]]", model="S2")
    login, chat = emu.calls
    assert emu.calls_to("/codeuser/") == [login]
    assert emu.calls_to("/codeapi/chat_auth") == [chat]
    assert (chat.method, chat.query, chat.status) == ("POST", {"ft_token": "u_demo_user"}, 200)
    assert chat.headers["authorization"] == f"Bearer {member.access}"
    assert chat.body["meta_datas"] == {"model": "S2"}
    assert chat.bytes_sent == len(reply.raw)
    assert chat.done
    assert chat.closed_at is None
    assert login.bytes_sent > 100


async def test_connections_are_kept_after_whole_answers(member: EmulatorClient) -> None:
    reused: list[bool] = []
    trace = aiohttp.TraceConfig()

    async def on_reuse(*_: object) -> None:
        reused.append(True)

    trace.on_connection_reuseconn.append(on_reuse)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        member.session = session
        for marker in ("say", "empty", "status", "say"):
            await member.chat(f"[[{marker}]]")
    assert len(reused) == 3


async def test_stopping_ends_answers_under_way_at_once(member: EmulatorClient) -> None:
    async with Emulator() as emu:
        member.url = emu.url
        await member.login()
        async with member.open_chat("[[silent]]"):
            await asyncio.wait_for(emu.stop(), LONGEST_WAIT)
            assert not emu.calls[-1].closed
