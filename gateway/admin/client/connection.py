"""Sends requests to an admin API, over a UNIX socket or TCP, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from gateway.admin.client.refusal import AdminRefusal, NoGateway
from gateway.admin.socket_address import socket_address
from gateway.redaction import os_error_text

BASE: Final = "/admin/api/v1"
_TIMEOUT: Final = 30.0  # seconds that the gateway may be silent
_MOST: Final = 64 * 1024 * 1024  # bytes of an answer
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class AdminConnection:
    """Sends requests to the admin API of one gateway, each over a connection of its own.

    where: the path of the UNIX socket, or an address such as `http://127.0.0.1:5001`.
    key: the admin key; a UNIX socket needs none.
    """

    def __init__(self, where: Path | str, key: str | None = None) -> None:
        self._where = where
        self._headers = {"User-Agent": "fitten-gateway", "Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    def check(self) -> None:
        """Connect once. Raises NoGateway if nothing listens."""
        self._connected().close()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        version: int | None = None,
    ) -> Any:
        """Send a request and return the value of its JSON answer; None for an empty one.

        path: below `/admin/api/v1`. query: parameters; those that are None are left out.
        version: of the object that is changed, so that nobody else's change is lost.
        Raises NoGateway if nothing listens, and AdminRefusal if the gateway refuses.
        """
        headers = dict(self._headers)
        content = None
        if method != "GET":
            headers["Content-Type"] = "application/json"
            content = json.dumps({} if body is None else body).encode()
            if method == "POST":
                headers["Idempotency-Key"] = secrets.token_hex(16)
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        chosen = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{BASE}{path}" + (f"?{urlencode(chosen)}" if chosen else "")
        status, raw = self._send(method, target, content, headers)
        return self._value(status, raw)

    def _send(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        connection = self._connected()
        try:
            connection.request(method, target, content, dict(headers))
            answer = connection.getresponse()
            raw = answer.read(_MOST)
            if answer.length:
                raise http.client.IncompleteRead(raw)
            return answer.status, raw
        except (OSError, http.client.HTTPException) as error:
            # Sent, perhaps: whether something has changed is not known.
            done = "" if method == "GET" else " Look whether the change was made."
            raise AdminRefusal(
                f"The gateway at {self._where} did not answer: {os_error_text(error)}.{done}"
            ) from None
        finally:
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        connection = self._connection()
        try:
            connection.connect()
        except ssl.SSLError as error:  # the number of such an error is no errno of the system
            connection.close()
            text = f"What answers at {self._where} speaks no TLS. Is it an address of http?"
            if isinstance(error, ssl.SSLCertVerificationError):
                text = f"The certificate of {self._where} is not trusted: {error.verify_message}."
            raise AdminRefusal(text) from None
        except OSError as error:
            connection.close()
            raise NoGateway(self._where, error) from None
        return connection

    def _connection(self) -> http.client.HTTPConnection:
        if isinstance(self._where, Path):
            return _SocketConnection(self._where)
        parts = urlsplit(self._where)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        return kind(parts.hostname or "", parts.port, timeout=_TIMEOUT)

    def _value(self, status: int, raw: bytes) -> Any:
        try:
            value = json.loads(raw) if raw else None
        except ValueError:
            value = raw
        if 200 <= status < 300 and not isinstance(value, bytes):
            return value
        error = value.get("error") if isinstance(value, dict) else None
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            raise AdminRefusal(
                f"What answers at {self._where} is no admin API of a fitten-gateway "
                f"(status {status}).",
                status=status,
            )
        raise AdminRefusal(
            error["message"],
            status=status,
            code=str(error.get("code") or ""),
            param=str(error.get("param") or ""),
        )


class _SocketConnection(http.client.HTTPConnection):
    """Connects to a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        with socket_address(self._path) as address:
            self.sock.connect(address)


def path_of(*parts: str) -> str:
    """Return a path below `/admin/api/v1` with names of any characters in it."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def url_fault(url: str) -> str | None:
    """Return why a key must not be sent to an address, or None."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "it is no address like http://127.0.0.1:5001"
    if not good or parts.username is not None or parts.path.strip("/") or parts.query:
        return "it is no address like http://127.0.0.1:5001"
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        return (
            "the admin key would cross the network unencrypted. Use https, or a tunnel: "
            "ssh -L 5001:127.0.0.1:5001 HOST, then --url http://127.0.0.1:5001"
        )
    return None
