"""The flight recorder: answers that could not be read are kept, and nothing of a prompt."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from emulator import Emulator
from gateway.config.settings import RecorderSettings, ToolSettings
from gateway.fitten.tools.record import AnswerRecord, decode_record
from gateway.server.reload import ConfigSource, reload_entrypoint
from gateway.store.record_files import RecordFolder
from tests.support import KEY, Gateway, content, running_gateway

PRIVATE_KEY = "private-key-0123456789"
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "clock",
            "description": "DESCRIPTION-TEXT",
            "parameters": {
                "type": "object",
                "properties": {"zone": {"type": "string", "description": "DESCRIPTION-TEXT"}},
            },
        },
    }
]
BROKEN = '<tool_call>\n{"name": "clock", "arguments": {"zone": "UTC"\n'
MIDDLEWARES = [
    "request_id",
    "request_log",
    {
        "api_key": {
            "keys": [
                {"name": "tester", "key": KEY, "record": True},
                {"name": "private", "key": PRIVATE_KEY},
            ]
        }
    },
]

Recording = Callable[..., AbstractAsyncContextManager[Gateway]]


class Records:
    """The folder of the records; it does not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def files(self) -> list[Path]:
        """Return the files in it."""
        return sorted(self.path.iterdir()) if self.path.exists() else []

    def file(self) -> Path:
        """Return its only file."""
        (file,) = self.files()
        return file

    def text(self) -> str:
        """Return the text of its only file."""
        return self.file().read_text("utf-8")

    def all(self) -> list[AnswerRecord]:
        """Return the records."""
        return [decode_record(file.read_bytes()) for file in self.files()]

    def one(self) -> AnswerRecord:
        """Return the only record."""
        (record,) = self.all()
        return record

    def modes(self) -> list[int]:
        """Return the modes of the folder and of each file."""
        return [stat.S_IMODE(path.stat().st_mode) for path in (self.path, *self.files())]

    def replace_by_a_file(self) -> None:
        """Put a file in the place of the folder."""
        self.path.write_text("a file")

    def add_old(self) -> None:
        """Write a record of eight days ago, and a file that is no record."""
        name = RecordFolder(self.path, days=7, max_bytes=1000).save(b"{}")
        then = time.time() - 8 * 86_400
        os.utime(self.path / name, (then, then))
        (self.path / "mine.txt").write_text("stays")


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Return a folder for records that does not exist yet."""
    return Records(tmp_path / "records")


@pytest.fixture
def recording(emulator: Emulator, tmp_path: Path, records: Records) -> Recording:
    """Run a gateway that records; at its end, all records are written."""

    @asynccontextmanager
    async def run(*, on: bool = True) -> AsyncIterator[Gateway]:
        options = {"folder": str(records.path) if on else None}
        async with running_gateway(
            emulator.url,
            tmp_path,
            # One answer to one request: what is recorded is each answer, not the repair.
            tools={"recorder": options, "repair": False},
            middlewares=MIDDLEWARES,
        ) as gateway:
            yield gateway

    return run


def say(text: str, before: str = "PROMPT-TEXT") -> str:
    """Return a message that the emulator answers with this text, three characters a piece."""
    return f"{before} [[say text={quote(text, safe='')} piece=3]]"


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_could_not_be_read_is_kept(
    recording: Recording, records: Records, streamed: bool, log_events: list[Any]
) -> None:
    text = f"Let me see.\n{BROKEN}"
    async with recording() as gateway:
        if streamed:
            assert content(await gateway.stream(say(text), tools=TOOLS)) == text
        else:
            status, answer = await gateway.whole(say(text), tools=TOOLS)
            assert (status, answer["choices"][0]["message"]["content"]) == (200, text)
    record = records.one()
    assert record.reasons == ["unreadable"]
    assert record.raw == [("content", text)]
    assert record.came_out == [("content", len(text))]
    assert (record.key, record.finish_reason, record.error) == ("tester", "length", None)
    assert [tool.name for tool in record.tools] == ["clock"]
    (line,) = [event for event in log_events if event["event"] == "answer_recorded"]
    assert (line["file"], line["reasons"]) == (records.file().name, ["unreadable"])
    assert records.modes() == [0o700, 0o600]


async def test_a_record_names_its_request(recording: Recording, records: Records) -> None:
    async with recording() as gateway:
        headers = {"x-request-id": "req-of-mine"}
        async with gateway.post_chat(say(BROKEN), headers, tools=TOOLS) as response:
            assert response.status == 200
    record = records.one()
    assert record.request_id == "req-of-mine"


async def test_a_record_has_nothing_of_the_prompt(recording: Recording, records: Records) -> None:
    messages = [
        {"role": "system", "content": "PROMPT-TEXT of the system"},
        {"role": "user", "content": "PROMPT-TEXT of the past"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "clock", "arguments": '{"zone": "PROMPT-TEXT"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "PROMPT-TEXT of a tool"},
        {"role": "user", "content": say(BROKEN)},
    ]
    body = {"messages": messages, "tools": TOOLS, "stop": ["PROMPT-TEXT"]}
    async with (
        recording() as gateway,
        gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response,
    ):
        assert response.status == 200, await response.text()
    raw = records.text()
    assert BROKEN.splitlines()[0] in raw
    assert not [text for text in ("PROMPT-TEXT", "DESCRIPTION-TEXT", "demo_user") if text in raw]


@pytest.mark.parametrize("why", ["no folder", "a key without record"])
async def test_only_those_that_agreed_are_recorded(
    recording: Recording, records: Records, why: str
) -> None:
    off = why == "no folder"
    headers = None if off else {"Authorization": f"Bearer {PRIVATE_KEY}"}
    async with (
        recording(on=not off) as gateway,
        gateway.post_chat(say(BROKEN), headers, tools=TOOLS) as response,
    ):
        assert response.status == 200
    assert records.files() == []


async def test_answers_that_were_read_are_not_kept(recording: Recording, records: Records) -> None:
    called = '<tool_call>\n{"name": "clock", "arguments": {"zone": "UTC"}}\n</tool_call>'
    async with recording() as gateway:
        for text in ("Hello.", called, f"```\n{BROKEN}\n```"):
            await gateway.whole(say(text), tools=TOOLS)
    assert records.files() == []


async def test_an_empty_answer_and_a_leaked_marker_are_kept(
    recording: Recording, records: Records
) -> None:
    async with recording() as gateway:
        await gateway.whole(say(" "))
        await gateway.whole(say("Done.\n</tool_call>\nMore."), tools=TOOLS)
    assert sorted(record.reasons for record in records.all()) == [["empty"], ["marker_leaked"]]


async def test_an_answer_that_broke_off_is_kept(recording: Recording, records: Records) -> None:
    async with recording() as gateway:
        message = "[[truncate]]"
        status, _ = await gateway.whole(message)
        assert status == 502
    record = records.one()
    assert (record.reasons, record.error) == (["error"], "upstream_truncated")
    assert record.finish_reason is None


async def test_secrets_are_masked(recording: Recording, records: Records) -> None:
    token = "FT_" + "0123456789abcdef" * 2
    # The user id at Fitten becomes known with the login.
    secrets = ("correct horse", "u_demo_user", KEY, token, "sk-0123456789abcdef0123")
    async with recording() as gateway:
        await gateway.whole(say(BROKEN + " ".join(secrets)), tools=TOOLS)
    raw = records.text()
    assert not [secret for secret in secrets if secret in raw]
    assert decode_record(raw.encode()).masked


async def test_a_reload_turns_it_on_and_forgets_no_secret(
    recording: Recording, records: Records
) -> None:
    async with recording(on=False) as gateway:
        recorder = RecorderSettings(folder=str(records.path))
        config = replace(gateway.config, tools=ToolSettings(repair=False, recorder=recorder))
        source = ConfigSource(lambda: config, lambda _: None, lambda: None, lambda _: None)
        await reload_entrypoint(gateway.entrypoint, source)
        await gateway.whole(say(BROKEN + "u_demo_user"), tools=TOOLS)
    assert records.one().masked
    assert "u_demo_user" not in records.text()


async def test_old_records_are_removed_at_the_start(recording: Recording, records: Records) -> None:
    records.add_old()
    async with recording():
        pass
    assert records.file().name == "mine.txt"


async def test_a_full_or_broken_disk_fails_no_answer_and_is_logged_once(
    recording: Recording, records: Records, log_events: list[Any]
) -> None:
    async with recording() as gateway:
        records.replace_by_a_file()
        for _ in range(3):
            status, _ = await gateway.whole(say(BROKEN), tools=TOOLS)
            assert status == 200
    lines = [event for event in log_events if event["event"] == "answer_not_recorded"]
    assert [(line["reason"], line["count"]) for line in lines] == [("File exists", 1)]


async def test_a_record_keeps_to_its_bounds(recording: Recording, records: Records) -> None:
    async with recording() as gateway:
        text = BROKEN + "x" * 280_000
        status, _ = await gateway.whole(
            f"[[say text={quote(text, safe='')} piece=900]]", tools=TOOLS
        )
        assert status == 200
    record = records.one()
    assert [kind for kind, _ in record.raw] == ["content", "cut", "content"]
    assert record.came_out == [("content", len(text))]
    assert len(records.text()) < 270_000
