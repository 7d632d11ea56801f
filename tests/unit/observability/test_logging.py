"""Log lines: structured, whole, and without secrets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import gc
import io
import json
import logging
import os
import select
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog

from gateway.config.settings import LogSettings
from gateway.observability import logging as log
from gateway.observability.log_sinks import StreamTarget
from gateway.redaction import Redactor
from tests.waiting import LONGEST_WAIT

SECRETS = {
    "plain": "correct horse",
    "quotes": 'a"b\\c',
    "accents": "café-crème",
    "chinese": "秘密的口令",
    "url": "p&ss/w?rd=1 %",
    "emoji": "key-😀-key",
    "quote": "it's-secret",
    "backslash and tab": "it's \\ a\ttab é",
    "both quotes": "it's \"\\ 秘\u2028\x1b密",
}


class Lines:
    """Holds what was logged."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.redactor = Redactor()

    def configure(self, **settings: Any) -> None:
        self.outputs = log.configure_logging(LogSettings(**settings), self.redactor, self.stream)

    @property
    def text(self) -> str:
        self.outputs.flush()
        return self.stream.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of the format json."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    logged = Lines()
    try:
        yield logged
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()
        if hasattr(logged, "outputs"):
            logged.outputs.close()


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize(
    "say",
    [
        lambda logger, secret: logger.info("event", password=secret),
        lambda logger, secret: logger.info("event", innocent=secret),
        lambda logger, secret: logger.info("event", within=f"<{secret}>"),
        lambda logger, secret: logger.info("event", nested={"a": [{"b": secret}]}),
        lambda logger, secret: logger.info("event", keys={secret: 1}),
        lambda logger, secret: logger.info("event", url=f"http://a?b={quote(secret, safe='')}"),
        lambda logger, secret: logger.info(f"event {secret}"),
        lambda logger, secret: logger.bind(bound=secret).warning("event"),
        lambda logger, secret: logging.getLogger("library").error("event %s", secret),
    ],
)
def test_a_known_secret_is_masked_wherever_it_stands(
    lines: Lines, say: Callable[[Any, str], None], secret: str, format: str
) -> None:
    lines.configure(format=format)
    lines.redactor.add(secret)
    say(structlog.get_logger("test"), secret)
    assert "event" in lines.text
    assert "****" in lines.text
    whole = lines.text
    if format == "json":
        whole += repr(lines.events)
    for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert form not in whole


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_in_a_request_or_an_address_is_masked(secret: str) -> None:
    redactor = Redactor([secret])
    assert redactor(f"sent {json.dumps({'a': secret})}") == 'sent {"a": "****"}'
    assert redactor(f"GET /a?token={quote(secret, safe='')}&b=1") == "GET /a?token=****&b=1"


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_has_its_lines_but_not_what_the_exception_says(
    lines: Lines, format: str
) -> None:
    lines.configure(format=format)
    said = "cannot use what nobody told us is secret"
    try:
        raise ValueError(said)
    except ValueError:
        structlog.get_logger("test").exception("bug")
        logging.getLogger("library").exception("bug")
    assert lines.text.count("raise ValueError(said)") == 2
    assert lines.text.count("ValueError: (40 characters that are not logged)") == 2
    assert "what nobody told us" not in lines.text


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_masked_however_often_it_was_written_anew(secret: str) -> None:
    redactor = Redactor([secret])
    for first in (repr, ascii, json.dumps, lambda text: repr(text.encode())):
        written = first(secret)
        for text in (written, json.dumps(written), json.dumps({"a": [written]})):
            assert "****" in redactor(text), text


@pytest.mark.parametrize("user", ["", "a:", "ab:", "abc:", "abcd:"])
def test_a_password_within_basic_authentication_is_masked(user: str) -> None:
    redactor = Redactor(["correct horse"])
    for running_app in ("", "x", "xy"):
        sent = base64.b64encode(f"{user}correct horse{running_app}".encode()).decode()
        masked = redactor(f"Proxy-Authorization: Basic {sent}")
        assert "****" in masked
        assert len(masked.partition("Basic ")[2].replace("****", "")) <= 4 + len(user) * 4 / 3 + 4


async def test_what_asyncio_complains_of_is_logged_without_what_it_holds(lines: Lines) -> None:
    lines.configure(format="json")
    canary = "a prompt in an exception"

    async def fails() -> None:
        raise ValueError(canary)

    def call_back(text: str) -> None:
        raise ValueError(text)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    loop.call_soon(functools.partial(call_back, canary), "more of it")
    loop.call_soon(call_back, canary)
    loop.call_exception_handler({"message": "Unclosed connection", "client_connection": canary})
    await asyncio.sleep(0.01)
    events = [event["event"] for event in lines.events]
    assert len(events) == 4
    assert "Task exception was never retrieved" in events
    assert "Unclosed connection" in events
    assert sum(event.startswith("Exception in callback") for event in events) == 2
    assert "raise ValueError(text)" in lines.text
    assert canary[:10] not in lines.text
    assert "more of it" not in lines.text


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmF0dXJl-_x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", "Authorization: ****"),
        ("authorization: bearer  abc", "authorization: ****"),
        (f"token={JWT}&x=1", "token=****&x=1"),
        (f'{{"t":"{JWT}"}}', '{"t":"****"}'),
        (f"[{JWT}, {JWT}]", "[****, ****]"),
        ("ft_token=FT_0123456789abcdefXYZ", "ft_token=****"),
        ("the bearer of news", "the **** news"),
        ("key sk-0123456789abcdef is wrong", "key **** is wrong"),
        ("task-0123456789abcdef0123, sk-short", "task-0123456789abcdef0123, sk-short"),
        ("eyJ is how they begin", "eyJ is how they begin"),
        ("a plain sentence", "a plain sentence"),
    ],
)
def test_what_looks_like_a_token_is_masked_without_being_registered(text: str, shown: str) -> None:
    assert Redactor()(text) == shown


@pytest.mark.parametrize("format", ["json", "console"])
def test_an_unknown_token_in_a_field_is_masked(lines: Lines, format: str) -> None:
    lines.configure(format=format)
    structlog.get_logger("test").info("event", answer=f'{{"access_token": "{JWT}"}}')
    assert JWT not in lines.text
    assert JWT.split(".")[2] not in lines.text


def test_longer_secrets_are_masked_before_what_they_contain() -> None:
    redactor = Redactor(["horse", "horse-and-cart", "cart"])
    assert redactor("a horse-and-cart, a horse") == "a ****, a ****"


def test_very_short_secrets_do_not_garble_the_log() -> None:
    assert Redactor(["", "a", "abc"])("abc a") == "abc a"


def test_a_secret_of_the_configuration_stays_masked_however_many_are_learnt() -> None:
    redactor = Redactor(["team-key-1234"])
    for number in range(260):
        redactor.add(f"learnt-secret-{number}")
    assert redactor("team-key-1234 learnt-secret-259") == "**** ****"


def test_json_lines_are_objects_with_event_level_logger_and_time(lines: Lines) -> None:
    lines.configure(format="json")
    structlog.get_logger("error_handler").warning("listening", url="http://a", nothing=None, n=1.5)
    (event,) = lines.events
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "listening",
        "level": "warning",
        "logger": "error_handler",
        "url": "http://a",
        "nothing": None,
        "n": 1.5,
    }


HOSTILE = "a\nb\r\x1b[2J\x00\x07\x9b\u2028\u202e\ud800"


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "say",
    [
        lambda logger: logger.info("event", path=HOSTILE),
        lambda logger: logger.info(HOSTILE),
        lambda logger: logger.info("event", nested=[HOSTILE, {"a": HOSTILE}]),
        lambda logger: logging.getLogger("library").error("%s", HOSTILE),
        lambda logger: logger.info("event", error=ValueError(HOSTILE)),
    ],
)
def test_the_text_of_a_client_cannot_forge_a_line(
    lines: Lines, say: Callable[[Any], None], format: str
) -> None:
    lines.configure(format=format)
    say(structlog.get_logger("test"))
    assert lines.text.count("\n") == 1
    assert lines.text.removesuffix("\n").isprintable()
    lines.text.encode()


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_value_of_any_kind_can_be_logged(lines: Lines, format: str) -> None:
    lines.configure(format=format)
    structlog.get_logger("test").info(
        "event", a=object(), b={1, 2}, c=b"bytes", d=Path("/x"), e=float("nan"), f=10**400
    )
    assert "event" in lines.text


def test_lines_below_the_level_are_left_out(lines: Lines) -> None:
    lines.configure(level="warning", format="json")
    logger = structlog.get_logger("test")
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.error("d")
    assert [event["event"] for event in lines.events] == ["c", "d"]


def test_records_of_libraries_are_masked_and_formatted_too(lines: Lines) -> None:
    lines.configure(format="json")
    library = logging.getLogger("some.library")
    library.info("chatter")
    library.warning("careful with %d%%", 5)
    library.error("no arguments: 100%")
    assert [(e["logger"], e["level"], e["event"]) for e in lines.events] == [
        ("some.library", "warning", "careful with 5%"),
        ("some.library", "error", "no arguments: 100%"),
    ]


def test_a_record_of_an_unusual_level_is_logged_too(lines: Lines) -> None:
    lines.configure(format="json")
    logging.getLogger("library").log(35, "between warning and error")
    assert [event["event"] for event in lines.events] == ["between warning and error"]


class TestTheFile:
    def test_gets_every_line_that_stderr_gets(self, lines: Lines, tmp_path: Path) -> None:
        file = tmp_path / "gateway.log"
        lines.configure(format="json", file=str(file))
        structlog.get_logger("test").info("event", text="好 \ud800")
        assert lines.text == file.read_text("utf-8")

    def test_is_opened_again_after_a_rotation(self, lines: Lines, tmp_path: Path) -> None:
        file = tmp_path / "gateway.log"
        lines.configure(format="json", file=str(file))
        logger = structlog.get_logger("test")
        logger.info("one")
        lines.outputs.flush()
        file.rename(tmp_path / "gateway.log.1")
        logger.info("two")
        lines.outputs.flush()
        assert '"two"' in file.read_text("utf-8")
        assert '"two"' not in (tmp_path / "gateway.log.1").read_text("utf-8")

    def test_that_went_away_with_its_folder_comes_back_with_it(
        self, lines: Lines, tmp_path: Path
    ) -> None:
        folder = tmp_path / "log"
        folder.mkdir()
        lines.configure(format="json", file=str(folder / "gateway.log"))
        logger = structlog.get_logger("test")
        logger.info("one")
        lines.outputs.flush()
        shutil.rmtree(folder)
        logger.info("two")
        logger.info("three")
        lines.outputs.flush()
        folder.mkdir()
        logger.info("four")
        assert [event["event"] for event in lines.events] == ["one", "two", "three", "four"]
        text = (folder / "gateway.log").read_text("utf-8")
        written = [json.loads(line) for line in text.splitlines()]
        assert written[0]["event"] == "four"
        assert (written[1]["event"], written[1]["count"]) == ("log_lines_lost", 2)

    def test_that_cannot_be_opened_stops_the_start(self, lines: Lines, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No such file"):
            lines.configure(file=str(tmp_path / "none" / "gateway.log"))


def test_a_stderr_that_nobody_reads_does_not_stop_the_gateway(lines: Lines) -> None:
    lines.configure()
    lines.stream.close()
    structlog.get_logger("test").info("event")


def test_a_sink_that_hangs_blocks_nothing_and_then_reports_how_many_lines_were_lost(
    lines: Lines, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pipe.open("w") as stuck:
        outputs = log.configure_logging(LogSettings(format="json"), lines.redactor, stuck)
        logger = structlog.get_logger("test")
        count = 30_000
        for number in range(count):
            logger.info("event", number=number, padding="x" * 200)
        outputs.flush(0.05)
        got = bytearray()
        os.set_blocking(reader, False)
        until = time.monotonic() + LONGEST_WAIT
        while not got.endswith(b"}\n") or b"log_lines_lost" not in got:
            assert time.monotonic() < until
            with contextlib.suppress(BlockingIOError):
                got += os.read(reader, 1_000_000)
        outputs.close()
    os.close(reader)
    events = [json.loads(line) for line in got.splitlines()]
    lost = sum(event["count"] for event in events if event["event"] == "log_lines_lost")
    assert lost > 0
    assert sum(event["event"] == "event" for event in events) + lost == count


def test_lines_of_several_processes_on_one_pipe_stay_whole() -> None:
    reader, writer = os.pipe()
    lengths = [10, 300]
    with os.fdopen(writer, "w") as pipe:
        writers = [StreamTarget(pipe, shared=True) for _ in range(4)]
        got = bytearray()

        def write(number: int) -> None:
            for _ in range(60):
                writers[number].write("".join(f"{number}" * n + "\n" for n in lengths) * 40)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or select.select([reader], [], [], 0)[0]:
            if select.select([reader], [], [], 0.05)[0]:
                got += os.read(reader, 65_536)
        for thread in threads:
            thread.join()
        long = threading.Thread(target=writers[0].write, args=("x" * 70_000 + "\nend\n",))
        long.start()
        rest = bytearray()
        while not rest.endswith(b"end\n"):
            rest += os.read(reader, 65_536)
        long.join()
    os.close(reader)
    assert {(len(set(line)), len(line)) for line in got.splitlines()} == {(1, 10), (1, 300)}
    assert len(got.splitlines()) == 4 * 60 * 80
    assert rest == b"x" * 70_000 + b"\nend\n", "a line that is too long is written all the same"


def test_secrets_of_former_settings_stay_masked_after_others_have_come() -> None:
    redactor = Redactor(["former-key-1234"])
    redactor.renew(["present-key-1234"])
    assert redactor("former-key-1234 present-key-1234") == "**** ****"


def test_another_file_gets_the_lines_after_it_was_set(lines: Lines, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    lines.configure(format="json", file=str(first))
    logger = structlog.get_logger("test")
    bound = logger.bind(request=1)
    logger.info("one")
    settings = LogSettings(format="json", file=str(second), level="warning")
    log.configure_logging(settings, lines.redactor, outputs=lines.outputs)
    logger.info("below the level")
    logger.warning("two")
    bound.warning("three")  # a logger that was taken before
    lines.outputs.flush()
    wait_for(lambda: len(first.read_text().splitlines()) == 1)
    assert [json.loads(line)["event"] for line in second.read_text().splitlines()] == [
        "two",
        "three",
    ]
    assert [event["event"] for event in lines.events] == ["one", "two", "three"]


def test_a_file_that_cannot_be_opened_changes_nothing(lines: Lines, tmp_path: Path) -> None:
    lines.configure(format="json", file=str(tmp_path / "log"))
    with pytest.raises(OSError, match="none"):
        log.configure_logging(
            LogSettings(level="error", file=str(tmp_path / "none" / "log")),
            lines.redactor,
            outputs=lines.outputs,
        )
    structlog.get_logger("test").info("one")
    assert [event["event"] for event in lines.events] == ["one"]


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + LONGEST_WAIT
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)
