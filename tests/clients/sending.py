"""The clients' requests, one JSON file each in requests/, sent as they stand there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import KEY, Gateway

FOLDER = Path(__file__).parent / "requests"
MODEL = "fitten-code"


@dataclass(frozen=True)
class ClientAnswer:
    """An answer's status, media type and bytes."""

    status: int
    media_type: str
    body: bytes


def names(kind: str) -> list[str]:
    """The requests of a kind (`chat`, `tools`, `completion`), by name."""
    return sorted(file.stem for file in FOLDER.glob(f"*_{kind}*.json"))


def load(name: str, marker: str = "") -> dict[str, Any]:
    """A request, its placeholders filled in."""
    text = (FOLDER / f"{name}.json").read_text("utf-8")
    for placeholder, value in (("$KEY", KEY), ("$MODEL", MODEL), ("$MARKER", marker)):
        text = text.replace(placeholder, value)
    loaded: dict[str, Any] = json.loads(text)
    return loaded


async def send(gateway: Gateway, name: str, marker: str = "") -> ClientAnswer:
    """Send a request; the members of its body go out in the order of the file."""
    request = load(name, marker)
    async with gateway.http.request(
        request["method"],
        gateway.url + request["path"],
        headers=request["headers"],
        data=json.dumps(request["body"]).encode(),
    ) as response:
        return ClientAnswer(response.status, response.content_type, await response.read())
