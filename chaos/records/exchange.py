"""Records one exchange between the gateway and Fitten, as the proxy saw it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from urllib.parse import unquote

from chaos.fault import HARMLESS, ChaosFault

# The proxy's number of it, for the emulator's record.
HEADER = "X-Chaos-Exchange"

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_USER = re.compile(r"[?&]ft_token=([^&]+)|/generate_one_stage_auth/([^?]+)")
_MOST_HEAD = 16 * 1024
ANSWERS = ("/codeapi/chat_auth", "/codeapi/completion")


@dataclass
class ChaosExchange:
    """Records a request that passed the proxy, and how its answer passed back.

    tag: of the request that it was made for; "" for logins and the like. fault: the fault to apply
    to this exchange, if any. happened: whether the fault has happened. forwarded: whether the
    request was sent to the emulator. dropped: the end of an idle connection ended it. passed: bytes
    of the answer that were sent to the gateway. began: monotonic seconds.
    """

    number: int
    target: str
    tag: str = ""
    fault: ChaosFault | None = None
    happened: bool = False
    forwarded: bool = False
    dropped: bool = False
    passed: int = 0
    status: int = 0
    head: bytes = b""
    began: float = field(default_factory=time.monotonic)

    @property
    def generates(self) -> bool:
        """Return whether it asks for an answer, not for a login or a list."""
        return self.target.startswith(ANSWERS)

    @property
    def user(self) -> str:
        """Return the Fitten user it is made for."""
        found = _USER.search(self.target)
        return unquote(found[1] or found[2]) if found else ""

    @property
    def harmed(self) -> bool:
        """Return whether a fault happened that may have damaged the answer."""
        return self.happened and self.fault is not None and self.fault.kind not in HARMLESS

    @property
    def lost(self) -> bool:
        """Return whether the connection ended before the gateway had the head of an answer."""
        ends = self.fault is not None and self.fault.kind in ("refuse", "reset", "close")
        return self.status == 0 and ((self.happened and ends) or self.dropped)

    def pass_on(self, data: bytes) -> None:
        """Record that these bytes are sent to the gateway."""
        self.passed += len(data)
        if not self.status and len(self.head) < _MOST_HEAD:
            self.head += data
            found = _STATUS.match(self.head)
            if found and b"\r\n\r\n" in self.head:
                self.status, self.head = int(found[1]), b""

    def __str__(self) -> str:
        how = f"{self.fault.kind} " if self.happened and self.fault else ""
        return f"#{self.number} {self.user} {how}{self.status or 'no head'}"
