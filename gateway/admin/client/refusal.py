"""Defines what can go wrong between a command and a gateway; the texts are for the operator."""

from __future__ import annotations

import errno
from pathlib import Path

from gateway.redaction import os_error_text


class AdminRefusal(Exception):
    """Reports that a command was refused, by the gateway or by the store.

    status: the HTTP status, or the one that a gateway would have sent; 0 for none.
    code: a word for programs. param: the field that is wrong.
    """

    def __init__(self, text: str, *, status: int = 0, code: str = "", param: str = "") -> None:
        super().__init__(text)
        self.status, self.code, self.param = status, code, param


class WrongTarget(AdminRefusal):
    """Reports that the command line names no gateway in a way that can be used."""


class NoGateway(AdminRefusal):
    """Reports that nothing listens at an address.

    denied: whether something may listen there, which this user must not reach.
    """

    def __init__(self, where: Path | str, error: OSError) -> None:
        self.denied = error.errno in (errno.EACCES, errno.EPERM)
        super().__init__(f"No gateway can be reached at {where}: {os_error_text(error)}.")
