"""Whatever clients write, a line of the log is one JSON object without control characters."""

from __future__ import annotations

import json

from tests.integration.conftest import Connect
from tests.integration.hostile.test_corpora import naughty_strings, sent
from tests.integration.peer import CHAT, eventually
from tests.process.conftest import Configure, keys
from tests.process.systemd import FakeSystemd
from tests.support import KEY


async def test_no_naughty_string_forges_a_line(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    configure(middlewares=["request_id", "request_log", keys(KEY)], log={"level": "debug"})
    service = await fake_systemd.start()
    peer = await connect(fake_systemd.url)
    for text in naughty_strings():
        user = {"role": "user", "content": "[[say]]"}
        await sent(peer, json.dumps({"messages": [user], "model": text, text: text}).encode())
        raw = text.encode("utf-8", "surrogatepass")
        heads = await connect(fake_systemd.url)
        await heads.send(
            b"POST %b/%b HTTP/1.1\r\nHost: %b\r\nUser-Agent: %b\r\nX-Request-Id: %b\r\n"
            b"Authorization: Bearer %b\r\nContent-Type: %b\r\nConnection: close\r\n\r\n"
            % (CHAT.encode(), raw, raw, raw, raw, raw, raw)
        )
        await heads.rest()
        heads.close()
    await eventually(lambda: service.raw.count("\n") > 1000)
    for line in service.raw.splitlines():
        assert line.isprintable()
        assert list(json.loads(line))[:3] == ["timestamp", "level", "event"]
    assert not [e for e in service.lines if e["level"] in ("warning", "error")]
