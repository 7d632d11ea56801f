"""Who comes in: admin keys, roles, sessions, the UNIX socket; and who does not."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.admin.support import (
    BASE,
    METRICS_KEY,
    ROOT_KEY,
    VIEWER_KEY,
    AdminUnderTest,
    Response,
    running_admin,
    settings,
)

SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


async def sign_in(admin: AdminUnderTest, key: str = ROOT_KEY) -> dict[str, str]:
    """Begin a session; return the header with its cookie."""
    answer = await admin.call("POST", "/session", {"key": key}, key=None)
    assert answer.status == 200, answer.body
    return {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}


async def with_cookie(
    admin: AdminUnderTest, method: str, path: str, cookie: dict[str, str], **more: str
) -> Response:
    """Send a request with a cookie and no key."""
    body: Any = {} if method == "POST" else None
    return await admin.call(method, path, body, key=None, headers=cookie | dict(more))


async def test_each_role_may_do_what_it_is_for(admin: AdminUnderTest) -> None:
    for key, name, statuses in (
        (ROOT_KEY, "root", (200, 200, 200)),
        (VIEWER_KEY, "watcher", (200, 200, 403)),
        (METRICS_KEY, "scraper", (200, 403, 403)),
    ):
        answers = [await admin.call("GET", p, key=key) for p in ("/session", "/keys", "/audit")]
        assert tuple(answer.status for answer in answers) == statuses
        assert answers[0].body["name"] == name


async def test_unknown_wrong_and_expired_keys_get_the_same_answer(admin: AdminUnderTest) -> None:
    made = await admin.make_admin_key("bob")
    used = made["key"]
    assert (await admin.call("GET", "/session", key=used)).body["role"] == "admin"
    await admin.call("POST", "/admin-keys/bob/rotate", {"grace_ms": 0})
    ordinary = (await admin.make_key("alice"))["key"]
    texts = [used, used[:-1] + ("a" if used[-1] != "a" else "b"), "nonsense", "fga-", ordinary]
    answers = [await admin.call("GET", "/session", key=text) for text in texts]
    assert {answer.status for answer in answers} == {401}
    assert len({str(answer.body) for answer in answers}) == 1
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}


async def test_without_a_key_nobody_comes_in(admin: AdminUnderTest) -> None:
    for method, path in (("GET", "/keys"), ("POST", "/keys"), ("GET", "/openapi.json")):
        answer = await admin.call(method, path, {} if method == "POST" else None, key=None)
        assert answer.status == 401
    basic = await admin.call("GET", "/session", key=None, headers={"Authorization": "Basic eDp5"})
    assert basic.status == 401


async def test_a_blocked_admin_key_and_its_sessions_end_at_once(admin: AdminUnderTest) -> None:
    made = await admin.make_admin_key("bob")
    cookie = await sign_in(admin, made["key"])
    assert (await with_cookie(admin, "GET", "/session", cookie)).body["name"] == "bob"
    await admin.call("POST", "/admin-keys/bob/block", {"reason": "left"})
    answer = await admin.call("GET", "/session", key=made["key"])
    assert (answer.status, answer.code) == (403, "key_blocked")
    assert (await with_cookie(admin, "GET", "/session", cookie)).status in (401, 403)
    await admin.call("POST", "/admin-keys/bob/unblock")
    assert (await admin.call("GET", "/session", key=made["key"])).status == 200
    assert (await with_cookie(admin, "GET", "/session", cookie)).status == 401


async def test_an_admin_key_gets_another_role_at_once(admin: AdminUnderTest) -> None:
    made = await admin.make_admin_key("bob")
    cookie = await sign_in(admin, made["key"])
    await admin.call("PATCH", "/admin-keys/bob", {"role": "viewer"})
    assert (await admin.call("GET", "/audit", key=made["key"])).status == 403
    assert (await with_cookie(admin, "GET", "/audit", cookie)).status == 403
    assert (await with_cookie(admin, "GET", "/keys", cookie)).status == 200


async def test_an_admin_key_has_no_limits(admin: AdminUnderTest) -> None:
    body = {"name": "bob", "role": "admin", "limits": {"concurrency": 1}}
    assert (await admin.call("POST", "/admin-keys", body)).status == 400
    other = await admin.call("POST", "/keys", {"name": "bob", "kind": "admin", "role": "admin"})
    assert (other.status, other.body["error"]["param"]) == (400, "kind")


async def test_the_eleventh_wrong_key_of_an_address_waits_and_a_right_one_never(
    tmp_path: Path,
) -> None:
    config = settings(tmp_path, server={"trusted_proxies": ["127.0.0.1"]})
    here, elsewhere = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    async with running_admin(config) as admin:
        wrong = [
            await admin.call("GET", "/session", key=f"wrong-{number}", headers=here)
            for number in range(11)
        ]
        assert [answer.status for answer in wrong] == [401] * 10 + [429]
        assert wrong[-1].code == "rate_limit_exceeded"
        login = await admin.call("POST", "/session", {"key": "x"}, key=None, headers=here)
        assert login.status == 429
        for headers in (here, elsewhere):
            assert (await admin.call("GET", "/session", headers=headers)).status == 200
        assert (await admin.call("GET", "/session", key="x", headers=elsewhere)).status == 401
        good = await admin.call("POST", "/session", {"key": ROOT_KEY}, key=None, headers=here)
        assert good.status == 200


HOSTS = {
    "localhost:5001": 200,
    "127.0.0.1:1": 200,
    "[::1]:5001": 200,
    "192.0.2.7": 200,
    "admin.example.org": 200,
    "admin.example.org:8443": 200,
    "evil.example": 421,
    "localhost.evil.example:5001": 421,
    "127.0.0.1.evil.example": 421,
    "user@localhost": 421,
    "localhost:x": 421,
    "localhost/": 421,
}


@pytest.mark.parametrize("host", HOSTS)
async def test_only_the_own_names_are_answered(host: str, tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        admin={
            "listen": "127.0.0.1:0",
            "keys": [{"name": "root", "key": ROOT_KEY}],
            "base_url": "https://admin.example.org",
        },
    )
    async with running_admin(config) as admin:
        answer = await admin.call("GET", "/session", headers={"Host": host})
        assert answer.status == HOSTS[host]
        login = await admin.call(
            "POST", "/session", {"key": ROOT_KEY}, key=None, headers={"Host": host}
        )
        assert login.status == HOSTS[host]


async def test_a_session_works_until_it_is_ended(admin: AdminUnderTest) -> None:
    cookie = await sign_in(admin)
    shown = (await with_cookie(admin, "GET", "/session", cookie)).body
    assert (shown["name"], shown["role"], shown["by"]) == ("root", "admin", "session")
    ended = await with_cookie(admin, "DELETE", "/session", cookie, **SAME_SITE)
    assert ended.status == 204
    assert "Max-Age=0" in ended.headers["Set-Cookie"]
    after = await with_cookie(admin, "GET", "/session", cookie)
    assert after.status == 401


async def test_a_session_outlives_a_restart_unless_it_was_ended(tmp_path: Path) -> None:
    config = settings(tmp_path)
    async with running_admin(config) as admin:
        kept, ended = await sign_in(admin), await sign_in(admin)
        await with_cookie(admin, "DELETE", "/session", ended, **SAME_SITE)
    async with running_admin(config) as admin:
        assert (await with_cookie(admin, "GET", "/session", kept)).status == 200
        assert (await with_cookie(admin, "GET", "/session", ended)).status == 401


async def test_the_cookie_is_for_this_host_and_no_script(admin: AdminUnderTest) -> None:
    local = await admin.call("POST", "/session", {"key": ROOT_KEY}, key=None)
    parts = {part.strip() for part in local.headers["Set-Cookie"].split(";")}
    assert {"HttpOnly", "Secure", "SameSite=Strict", "Path=/"} <= parts
    assert local.headers["Set-Cookie"].startswith("__Host-fg=")
    assert not [part for part in parts if part.startswith(("Max-Age", "expires", "Domain"))]
    assert local.body["insecure"] is False
    plain = await admin.call(
        "POST", "/session", {"key": ROOT_KEY}, key=None, headers={"Host": "192.0.2.7:5001"}
    )
    assert plain.headers["Set-Cookie"].startswith("fg=")
    assert "Secure" not in plain.headers["Set-Cookie"]
    assert plain.body["insecure"] is True
    assert ROOT_KEY not in str(local.headers) + str(local.body)


CROSS_SITE = {
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "a subdomain": {"Sec-Fetch-Site": "same-site"},
    "typed by hand": {"Sec-Fetch-Site": "none"},
    "a subdomain, older browser": {"Origin": "http://a.localhost:5001"},
    "another port, older browser": {"Origin": "http://localhost:81"},
    "null origin": {"Origin": "null"},
    "no header at all": {},
    "own origin, but cross-site": {
        "Sec-Fetch-Site": "cross-site",
        "Origin": "http://localhost:5001",
    },
}


@pytest.mark.parametrize("headers", CROSS_SITE.values(), ids=CROSS_SITE)
async def test_another_site_cannot_use_the_cookie(
    headers: dict[str, str], admin: AdminUnderTest
) -> None:
    cookie = await sign_in(admin)
    host = {"Host": "localhost:5001"}
    for method, path in (("POST", "/keys/x/block"), ("DELETE", "/session"), ("PATCH", "/keys/x")):
        answer = await with_cookie(admin, method, path, cookie, **host, **headers)
        assert (answer.status, answer.code) == (403, "cross_site")
    assert (await with_cookie(admin, "GET", "/session", cookie, **host)).status == 200


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost:5001"}]
)
async def test_the_own_page_may_use_the_cookie(
    headers: dict[str, str], admin: AdminUnderTest
) -> None:
    cookie = await sign_in(admin)
    answer = await with_cookie(
        admin, "POST", "/keys/x/block", cookie, Host="localhost:5001", **headers
    )
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_key_needs_no_origin_and_beats_the_cookie(admin: AdminUnderTest) -> None:
    cookie = await sign_in(admin)
    headers = cookie | {"Sec-Fetch-Site": "cross-site"}
    answer = await admin.call("GET", "/session", key=VIEWER_KEY, headers=headers)
    assert (answer.body["name"], answer.body["by"]) == ("watcher", "key")
    wrong = await admin.call("GET", "/session", key="wrong", headers=headers)
    assert wrong.status == 401


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_what_a_form_can_send_is_refused(kind: str, admin: AdminUnderTest) -> None:
    async with admin.http.post(
        f"{admin.url}/admin/api/v1/keys",
        data=b'{"name": "alice"}',
        headers={"Authorization": f"Bearer {ROOT_KEY}", "Content-Type": kind},
    ) as response:
        assert response.status == 415
    assert admin.node.published == []


async def test_no_other_site_may_read_and_nothing_is_stored(admin: AdminUnderTest) -> None:
    for answer in (
        await admin.call("GET", "/keys"),
        await admin.call("GET", "/nothing"),
        await admin.call("OPTIONS", "/keys", headers={"Origin": "https://evil.example"}),
    ):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


async def test_the_socket_lets_its_own_user_in_and_says_so(admin: AdminUnderTest) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    shown = (await admin.call("GET", "/session", unix=True)).body
    assert (shown["name"], shown["role"], shown["by"]) == (f"local:{me}", "admin", "socket")
    key = {"Authorization": f"Bearer {VIEWER_KEY}"}
    assert (await admin.call("GET", "/session", unix=True, headers=key)).body["name"] == "watcher"
    wrong = {"Authorization": "Bearer nonsense"}
    assert (await admin.call("GET", "/session", unix=True, headers=wrong)).status == 401
    assert admin.config.admin_socket.stat().st_mode & 0o777 == 0o600


ANOTHER_USER = """
import http.client, os, socket, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
os.fchdir(folder)
os.setgid(64999)
os.setuid(64999)
connection = http.client.HTTPConnection("local")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("admin.sock")
connection.request("GET", sys.argv[2])
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")
async def test_the_kernel_says_who_uses_the_socket_whatever_its_mode(
    admin: AdminUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = admin.config.admin_socket
    socket.parent.chmod(0o711)
    socket.chmod(0o666)

    async def asked_by_another_user() -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ANOTHER_USER, socket.parent, f"{BASE}/session"),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return output.decode()

    refused = await asked_by_another_user()
    assert refused.startswith("401 ")
    assert "Send an admin key" in refused
    # A gateway that runs as that user lets him in, and root.
    monkeypatch.setattr(os, "geteuid", lambda: 64999)
    shown = await asked_by_another_user()
    assert shown.startswith("200 ")
    assert '"name":"local:64999","role":"admin"' in shown
    assert (await admin.call("GET", "/session", unix=True)).body["name"] == "local:root"


async def test_without_any_admin_key_the_command_is_named(tmp_path: Path) -> None:
    config = settings(tmp_path, admin={"listen": "127.0.0.1:0"})
    async with running_admin(config) as admin:
        answer = await admin.call("GET", "/keys", key=None)
        assert (answer.status, answer.code) == (503, "no_admin_key")
        assert "fitten-gateway admin-keys add" in answer.body["error"]["message"]
        made = await admin.call("POST", "/admin-keys", {"name": "root", "role": "admin"}, unix=True)
        assert made.status == 201
        assert (await admin.call("GET", "/keys", key=made.body["key"])).status == 200
        assert (await admin.call("GET", "/keys", key=None)).status == 401
