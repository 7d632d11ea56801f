"""Defines what snippets are filled in with: the gateway's address, the model, the key."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

KEY_VARIABLE = "FITTEN_GATEWAY_KEY"
"""The environment variable in which users keep their key of the gateway."""

PLACEHOLDER = "YOUR_KEY"
"""Stands for the key in formats that cannot refer to an environment variable."""

DEFAULT_MODEL = "fitten-code"
DEFAULT_URL = "http://localhost:5000"
OUTPUT_LIMIT = 8192
"""What agents are told as the tokens of the longest answer; they keep that much of the window."""

_LOOPBACK = re.compile(r"https?://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SetupTarget:
    """Describes the gateway that a client is to use.

    url: without a path and without a slash at its end. window: tokens of the model's context.
    key: for formats that need the key itself; None for the placeholder.
    key_file: the file of the key, for formats that can read it.
    lean: whether to leave out what costs most of an agent's requests.
    """

    url: str = DEFAULT_URL
    model: str = DEFAULT_MODEL
    window: int = 0
    key: str | None = None
    key_file: str | None = None
    lean: bool = False

    @property
    def api(self) -> str:
        """Return the base URL of OpenAI's API."""
        return f"{self.url}/v1"

    @property
    def literal_key(self) -> str:
        """Return the key itself, or the placeholder."""
        return PLACEHOLDER if self.key is None else self.key

    @property
    def shell_key(self) -> str:
        """Return the key as a word of the shell."""
        if self.key_file is None:
            return f'"${KEY_VARIABLE}"'
        return f'"$(cat {shlex.quote(self.key_file)})"'

    @property
    def compact_at(self) -> int:
        """Return the tokens at which an agent should sum up its conversation."""
        return self.window * 9 // 10


def is_loopback(url: str) -> bool:
    """Return whether only programs of this machine reach an address."""
    return _LOOPBACK.fullmatch(url) is not None
