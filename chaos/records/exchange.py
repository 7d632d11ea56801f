"""One exchange between the gateway and Fitten: the proxy's book."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from urllib.parse import unquote

from chaos.fault import HARMLESS, ChaosFault

# The proxy's number of it, for the emulator's book.
HEADER = "X-Chaos-Exchange"

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_USER = re.compile(r"[?&]ft_token=([^&]+)|/generate_one_stage_auth/([^?]+)")
_MOST_HEAD = 16 * 1024
ANSWERS = ("/codeapi/chat_auth", "/codeapi/completion")


@dataclass
class ChaosExchange:
    """A request, as it passed the proxy, and how its answer passed back.

    tag: of the request that it was made for; "" for logins and the like. fault: what it asks
    for, if that is to be done to this one. struck: the fault has come true. forwarded:
    whether the emulator was sent it. dropped: an idle connection's end took it along. passed:
    bytes of the answer that the gateway was sent. began: monotonic seconds.
    """

    number: int
    target: str
    tag: str = ""
    fault: ChaosFault | None = None
    struck: bool = False
    forwarded: bool = False
    dropped: bool = False
    passed: int = 0
    status: int = 0
    head: bytes = b""
    began: float = field(default_factory=time.monotonic)

    @property
    def generates(self) -> bool:
        """Whether an answer is asked for, not a login or a list."""
        return self.target.startswith(ANSWERS)

    @property
    def user(self) -> str:
        """The Fitten user it is made for."""
        found = _USER.search(self.target)
        return unquote(found[1] or found[2]) if found else ""

    @property
    def harmed(self) -> bool:
        """Whether a fault has come true that the answer may have suffered from."""
        return self.struck and self.fault is not None and self.fault.kind not in HARMLESS

    @property
    def lost(self) -> bool:
        """Whether the connection ended before the gateway had the head of an answer."""
        ends = self.fault is not None and self.fault.kind in ("refuse", "reset", "close")
        return self.status == 0 and ((self.struck and ends) or self.dropped)

    def pass_on(self, data: bytes) -> None:
        """The gateway is sent this."""
        self.passed += len(data)
        if not self.status and len(self.head) < _MOST_HEAD:
            self.head += data
            found = _STATUS.match(self.head)
            if found and b"\r\n\r\n" in self.head:
                self.status, self.head = int(found[1]), b""

    def __str__(self) -> str:
        how = f"{self.fault.kind} " if self.struck and self.fault else ""
        return f"#{self.number} {self.user} {how}{self.status or 'no head'}"
