"""Requests to an admin API: what is sent, and what becomes of each kind of answer."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.client.connection import AdminConnection, path_of, url_fault
from gateway.admin.client.refusal import AdminRefusal, NoGateway
from tests.waiting import LONGEST_WAIT


class ScriptedApi:
    """Answers each connection with the same bytes; `requests` has what came."""

    def __init__(self, listening: socket.socket, answer: bytes) -> None:
        self.requests: list[bytes] = []
        self._listening, self._answer = listening, answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listening.accept()
                with peer:
                    request = peer.recv(65_536)
                    head, _, body = request.partition(b"\r\n\r\n")
                    length = next(
                        (
                            int(line.split(b":")[1])
                            for line in head.split(b"\r\n")
                            if line.lower().startswith(b"content-length:")
                        ),
                        0,
                    )
                    while len(body) < length:
                        body += peer.recv(65_536)
                    self.requests.append(head + b"\r\n\r\n" + body)
                    peer.sendall(self._answer)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(LONGEST_WAIT)


def answer(status: str, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


@contextlib.contextmanager
def serving(path: Path, raw: bytes) -> Iterator[ScriptedApi]:
    """Serve bytes at a UNIX socket."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    api = ScriptedApi(listening, raw)
    try:
        yield api
    finally:
        api.close()


def refusal(path: Path, raw: bytes, method: str = "GET") -> AdminRefusal:
    with serving(path, raw), pytest.raises(AdminRefusal) as caught:
        AdminConnection(path).call(method, "/keys")
    return caught.value


def test_a_change_has_a_json_body_a_version_and_a_key_against_repeats(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with serving(path, answer("200 OK", b'{"name": "x"}')) as api:
        connection = AdminConnection(path)
        body: dict[str, Any] = {"name": "\u4e2d\u6587", "limits": {"tokens_per_day": None}}
        assert connection.call("POST", "/keys", body) == {"name": "x"}
        connection.call("PATCH", "/keys/a", {}, version=7)
        connection.call("GET", "/audit", query={"limit": 5, "actor": None, "action": "a&b"})
    first, second, third = (request.partition(b"\r\n\r\n") for request in api.requests)
    assert first[0].startswith(b"POST /admin/api/v1/keys HTTP/1.1\r\n")
    assert b"\r\nIdempotency-Key: " in first[0]
    assert b"\r\nContent-Type: application/json\r\n" in first[0]
    assert b"Authorization" not in first[0]
    assert json.loads(first[2]) == body
    assert b'\r\nIf-Match: "7"' in second[0]
    assert b"Idempotency-Key" not in second[0]
    assert third[0].startswith(b"GET /admin/api/v1/audit?limit=5&action=a%26b HTTP/1.1\r\n")
    assert third[2] == b""


def test_over_tcp_the_key_is_sent_and_an_empty_answer_is_none() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    api = ScriptedApi(listening, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    try:
        assert AdminConnection(url, "fga-secret").call("DELETE", "/keys/a") is None
    finally:
        api.close()
    assert b"\r\nAuthorization: Bearer fga-secret\r\n" in api.requests[0]


def test_an_error_of_the_api_is_a_refusal_with_its_words(tmp_path: Path) -> None:
    error = {"message": "No such key.", "type": "x", "code": "not_found", "param": None}
    raw = answer("404 Not Found", json.dumps({"error": error}).encode())
    found = refusal(tmp_path / "s", raw)
    assert (str(found), found.status, found.code, found.param) == (
        "No such key.",
        404,
        "not_found",
        "",
    )


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (answer("200 OK", b"<html>", "text/html"), "is no admin API of a fitten-gateway (status 2"),
        (answer("502 Bad Gateway", b"<html>", "text/html"), "(status 502)"),
        (answer("500 Error", b'{"error": "text"}'), "(status 500)"),
        (answer("500 Error", b'{"error": {"message": 1}}'), "(status 500)"),
        (answer("302 Found", b""), "(status 302)"),
        (b"", "did not answer: RemoteDisconnected."),
        (b"SSH-2.0-x\r\n", "did not answer: BadStatusLine."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "did not answer: IncompleteRead."),
    ],
)
def test_any_other_answer_is_a_refusal_in_one_line(tmp_path: Path, raw: bytes, says: str) -> None:
    found = refusal(tmp_path / "s", raw)
    assert says in str(found)
    assert "\n" not in str(found)


def test_a_change_whose_answer_is_lost_says_to_look(tmp_path: Path) -> None:
    assert str(refusal(tmp_path / "s", b"", "POST")).endswith(" Look whether the change was made.")


def test_where_nothing_listens_there_is_no_gateway(tmp_path: Path) -> None:
    with pytest.raises(NoGateway) as caught:
        AdminConnection(tmp_path / "s").check()
    assert str(caught.value) == (
        f"No gateway can be reached at {tmp_path}/s: No such file or directory."
    )
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.close()  # as a process that was killed leaves it
    with pytest.raises(NoGateway, match="Connection refused"):
        AdminConnection(tmp_path / "s").call("GET", "/keys")


def test_an_address_of_http_that_is_called_https_is_told_from_a_missing_right() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    where = f"https://127.0.0.1:{listening.getsockname()[1]}"
    api = ScriptedApi(listening, answer("400 Bad Request", b"{}"))
    try:
        with pytest.raises(AdminRefusal, match="speaks no TLS"):
            AdminConnection(where, "fga-x").call("GET", "/keys")
    finally:
        api.close()


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:5001", "http://localhost:5001/", "http://[::1]:5001"),
        *("https://gateway.example.org", "https://10.0.0.7:8443"),
    ],
)
def test_addresses_that_a_key_may_be_sent_to(url: str) -> None:
    assert url_fault(url) is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://10.0.0.7:5001", "unencrypted"),
        ("http://localhost.example.org", "unencrypted"),
        ("http://127.0.0.1.example.org", "ssh -L"),
        *((url, "no address") for url in ("localhost:5001", "ftp://a", "http://", "http://a:x")),
        *((url, "no address") for url in ("http://u:p@127.0.0.1", "http://127.0.0.1/admin", "x?")),
    ],
)
def test_addresses_that_a_key_must_not_be_sent_to(url: str, says: str) -> None:
    assert says in (url_fault(url) or "")


def test_any_name_can_stand_in_a_path() -> None:
    assert path_of("keys", "a/b ?\u4e2d", "block") == "/keys/a%2Fb%20%3F%E4%B8%AD/block"
