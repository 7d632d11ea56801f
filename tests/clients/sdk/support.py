"""The gateway and the emulator as processes, because this venv may lack their libraries."""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from tests.waiting import LONGEST_WAIT

if TYPE_CHECKING:  # this venv may have the SDK of another dialect only
    from openai.types.chat import ChatCompletionMessageParam

MODEL = "fitten-code"

REPOSITORY = Path(__file__).parents[3]
PYTHON = REPOSITORY / ".venv/bin/python"

_CHAT = "/codeapi/chat_auth"


class SdkQuestion:
    """A user message that can be found again among the emulator's calls."""

    def __init__(self, text: str) -> None:
        self.tag = uuid.uuid4().hex
        self.messages: list[ChatCompletionMessageParam] = [
            {"role": "user", "content": f"{text} {self.tag}"}
        ]


@dataclass(frozen=True)
class FittenProcess:
    """The emulator's URL, and what it received."""

    url: str

    def calls(self, question: SdkQuestion) -> list[dict[str, Any]]:
        """The chat calls that a question has caused so far."""
        with urlopen(f"{self.url}/_emulator/calls?path={_CHAT}") as answer:
            calls: list[dict[str, Any]] = json.load(answer)
        return [call for call in calls if question.tag in call["body"]["inputs"]]

    def wait_until_asked(self, question: SdkQuestion) -> None:
        """Return when the question has caused a call."""
        wait_until(lambda: bool(self.calls(question)), "the upstream is not asked")

    def wait_until_closed(self, question: SdkQuestion) -> None:
        """Return when the question's only call was given up by the gateway."""

        def closed() -> bool:
            return [call["closed_at"] is not None for call in self.calls(question)] == [True]

        wait_until(closed, "the upstream is still open")


@dataclass(frozen=True)
class SdkGateway:
    """A running gateway, with the base URL for the SDK."""

    base_url: str


@contextmanager
def running_emulator(folder: Path) -> Iterator[FittenProcess]:
    """An emulator without pauses between its pieces."""
    output = folder / "emulator.log"
    with _running(["emulator", "--port", "0", "--pace", "0"], output):
        yield FittenProcess(_wait_for_url(output))


@contextmanager
def running_gateway(
    fitten: FittenProcess,
    folder: Path,
    *,
    keys: list[str],
    requests_per_minute: int,
    path_keys: Sequence[str] = (),
    **sections: Any,
) -> Iterator[SdkGateway]:
    """A gateway before the emulator, logged in. Fails if it logged an error meanwhile.

    path_keys: further keys, which may stand in the path of a URL.
    sections: further ones of its configuration.
    """
    named = [{"name": f"key{i}", "key": k} for i, k in enumerate(keys)]
    in_path = [{"name": f"path{i}", "key": k, "path": True} for i, k in enumerate(path_keys)]
    settings = {
        **sections,
        "server": {"drain_timeout": 1.0},
        "fitten": {
            "base_url": fitten.url,
            "models_url": fitten.url,
            "accounts": [{"username": "demo_user", "password": "correct horse"}],
            "state_file": str(folder / "fitten.json"),
            # The failures that these tests ask for are not to make the account pause.
            "pool": {"breaker_failures": 0},
        },
        "log": {"format": "json"},
        "middlewares": [
            "request_id",
            "request_log",
            {"api_key": {"keys": [*named, *in_path]}},
            {
                "rate_limit": dict.fromkeys(
                    ("requests_per_minute", "listings_per_minute"), requests_per_minute
                )
            },
        ],
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps(settings), "utf-8")  # JSON is YAML
    output = folder / "gateway.log"
    with _running(["gateway", "serve", "--config", str(config), "--port", "0"], output):
        url = _wait_for_url(output)
        wait_until(lambda: _is_ready(url), f"not ready: {output}")
        yield SdkGateway(f"{url}/v1")
    text = output.read_text("utf-8")
    assert '"level":"error"' not in text.replace(" ", ""), text


def wait_until(holds: Callable[[], bool], complaint: str) -> None:
    """Wait until the condition is true; fail with the message if it never is."""
    end = time.monotonic() + LONGEST_WAIT
    while not holds():
        assert time.monotonic() < end, complaint
        time.sleep(0.02)


@contextmanager
def _running(arguments: list[str], output: Path) -> Iterator[None]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(PYTHON), "-m", *arguments], cwd=REPOSITORY, stdout=file, stderr=file
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            status = process.wait(LONGEST_WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
    assert status == 0, f"{arguments[0]} exited with {status}: {output.read_text('utf-8')}"


def _wait_for_url(output: Path) -> str:
    found: list[str] = []

    def printed() -> bool:
        text = output.read_text("utf-8")
        found[:] = re.findall(r"http://127\.0\.0\.1:\d+(?=\W)", text)
        assert "Traceback" not in text, text
        return bool(found)

    wait_until(printed, f"no URL in {output}")
    return found[0]


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/ready") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
