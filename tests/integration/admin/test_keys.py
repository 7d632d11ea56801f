"""Keys over the admin API: made, changed, rotated, blocked, deleted, forgotten."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from gateway.errors import KeyBlocked, Unauthorized
from tests.integration.admin.ledger import fill
from tests.integration.admin.support import (
    BASE,
    ROOT_KEY,
    VIEWER_KEY,
    AdminUnderTest,
    running_admin,
    settings,
)
from tests.unit.ledger.support import row
from tests.waiting import eventually


def now() -> int:
    return time.time_ns() // 1_000_000


async def test_a_key_is_shown_once_and_works_at_once(admin: AdminUnderTest) -> None:
    made = await admin.make_key("alice", limits={"chats_per_minute": 60, "tokens_per_day": 2000})
    assert made["key"].startswith("fg-")
    assert made["applied"] == {"confirmed": 1, "of": 1}
    principal = admin.node.directory.identify(made["key"], "api", now())
    assert (principal.name, dict(principal.limits)) == (
        "alice",
        {"chats_per_minute": 60, "tokens_per_day": 2000},
    )
    for shown in (
        (await admin.call("GET", "/keys/alice")).body,
        (await admin.call("GET", f"/keys/{made['id']}")).body,
        *(await admin.call("GET", "/keys")).body["keys"],
    ):
        assert shown["name"] == "alice"
        assert "key" not in shown
        assert made["key"] not in str(shown)
        assert shown["secrets"][0]["last4"] == made["key"][-4:]


async def test_an_unknown_member_is_named(admin: AdminUnderTest) -> None:
    answer = await admin.call("POST", "/keys", {"name": "alice", "rpm": 5})
    assert (answer.status, answer.body["error"]["param"]) == (400, "rpm")
    assert "limits" in answer.body["error"]["message"]
    answer = await admin.call("POST", "/keys", {"name": "alice", "limits": {"rpm": 5}})
    assert (answer.status, answer.body["error"]["param"]) == (400, "limits.rpm")
    answer = await admin.call("GET", "/keys?colour=red")
    assert (answer.status, answer.body["error"]["param"]) == (400, "colour")
    assert admin.node.published == []


async def test_null_clears_a_limit_and_an_absent_one_stays(admin: AdminUnderTest) -> None:
    await admin.make_key(
        "alice", limits={"chats_per_minute": 60, "concurrency": 4}, note="third floor"
    )
    changed = await admin.call("PATCH", "/keys/alice", {"limits": {"chats_per_minute": None}})
    assert changed.status == 200
    assert changed.body["limits"] == {"concurrency": 4}
    assert changed.body["note"] == "third floor"
    cleared = await admin.call("PATCH", "/keys/alice", {"limits": None, "note": None})
    assert (cleared.body["limits"], cleared.body["note"]) == ({}, "")


async def test_the_second_of_two_admins_who_change_a_key_is_told(admin: AdminUnderTest) -> None:
    await admin.make_key("alice")
    seen = (await admin.call("GET", "/keys/alice")).headers["ETag"]
    first = await admin.call("PATCH", "/keys/alice", {"note": "one"}, headers={"If-Match": seen})
    second = await admin.call("PATCH", "/keys/alice", {"note": "two"}, headers={"If-Match": seen})
    assert (first.status, second.status, second.code) == (200, 412, "version_conflict")
    assert (await admin.call("GET", "/keys/alice")).body["note"] == "one"
    again = {"If-Match": first.headers["ETag"]}
    third = await admin.call("PATCH", "/keys/alice", {"note": "two"}, headers=again)
    assert third.status == 200


async def test_a_blocked_key_is_refused_with_the_reason(admin: AdminUnderTest) -> None:
    made = await admin.make_key("alice")
    blocked = await admin.call("POST", "/keys/alice/block", {"reason": "laptop lost"})
    assert (blocked.status, blocked.body["state"]) == (200, "blocked")
    with pytest.raises(KeyBlocked, match="laptop lost"):
        admin.node.directory.identify(made["key"], "api", now())
    unblocked = await admin.call("POST", "/keys/alice/unblock")
    assert (unblocked.status, unblocked.body["state"]) == (200, "active")
    admin.node.directory.identify(made["key"], "api", now())


async def test_rotation_leaves_the_former_text_for_its_grace_only(admin: AdminUnderTest) -> None:
    made = await admin.make_key("alice")
    rotated = await admin.call("POST", "/keys/alice/rotate", {})
    assert rotated.status == 200
    assert len(rotated.body["secrets"]) == 2
    for text in (made["key"], rotated.body["key"]):
        assert admin.node.directory.identify(text, "api", now()).key_id == made["id"]
    third = await admin.call("POST", "/keys/alice/rotate", {})
    assert len(third.body["secrets"]) == 2
    with pytest.raises(Unauthorized):
        admin.node.directory.identify(made["key"], "api", now())
    for text in (rotated.body["key"], third.body["key"]):
        assert admin.node.directory.identify(text, "api", now()).key_id == made["id"]
    leaked = await admin.call("POST", "/keys/alice/rotate", {"grace_ms": 0})
    for text in (made["key"], rotated.body["key"], third.body["key"]):
        with pytest.raises(Unauthorized):
            admin.node.directory.identify(text, "api", now())
    assert admin.node.directory.identify(leaked.body["key"], "api", now()).key_id == made["id"]


@pytest.mark.parametrize("path", ["/keys", "/keys/bob/rotate"])
async def test_a_repeated_request_makes_one_key_and_shows_no_text(
    path: str, admin: AdminUnderTest
) -> None:
    await admin.make_key("bob")
    body = {"name": "alice"} if path == "/keys" else {}
    once = {"Idempotency-Key": "attempt-1"}
    first = await admin.call("POST", path, body, headers=once)
    second = await admin.call("POST", path, body, headers=once)
    assert (first.status, second.status) == (201 if path == "/keys" else 200, 200)
    assert second.body["id"] == first.body["id"]
    assert (second.body["key"], second.body["already_issued"]) == (None, True)
    assert first.body["key"]


async def test_a_rotation_whose_answer_is_lost_is_done_once(admin: AdminUnderTest) -> None:
    made = await admin.make_key("alice")
    before = list(admin.node.published)
    host, port = admin.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = [
        f"POST {BASE}/keys/alice/rotate HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {ROOT_KEY}",
        "Idempotency-Key: attempt-1",
        "Content-Length: 0",
    ]
    writer.write("\r\n".join([*head, "", ""]).encode())
    await writer.drain()
    writer.close()  # nobody reads the answer
    await eventually(lambda: admin.node.published != before)
    once = {"Idempotency-Key": "attempt-1"}
    repeated = await admin.call("POST", "/keys/alice/rotate", headers=once)
    assert (repeated.status, repeated.body["id"]) == (200, made["id"])
    assert (repeated.body["key"], repeated.body["already_issued"]) == (None, True)
    assert repeated.body["version"] == 2
    assert len(repeated.body["secrets"]) == 2
    assert len((await admin.call("GET", "/audit?action=key.rotate")).body["rows"]) == 1


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("\u202eecila", 400),
        ("ali\u200fce", 400),
        ("ali\x00ce", 400),
        ("a" * 65, 400),
        ("", 400),
        ("\U0001f98a" * 64, 201),
        ("=cmd()", 201),
        ("<img src=x onerror=alert(1)>", 201),
        ("../../teams/a?b#c%2f", 201),
        ("林晓", 201),
        ("..", 201),
    ],
)
async def test_any_printable_name_is_kept_as_it_is(
    admin: AdminUnderTest, name: str, status: int
) -> None:
    for _ in range(2):  # the name can be used again
        made = await admin.call("POST", "/keys", {"name": name})
        assert made.status == status
        if status == 400:
            assert made.body["error"]["param"] == "name"
            continue
        assert made.body["name"] == name
        (found,) = (await admin.call("GET", f"/keys?search={quote(name, safe='')}")).body["keys"]
        assert found["id"] == made.body["id"]
        path = f"/keys/{quote(name, safe='')}"
        async with admin.http.delete(
            URL(f"{admin.url}{BASE}{path}", encoded=True),
            headers={"Authorization": f"Bearer {ROOT_KEY}"},
        ) as response:
            assert response.status == 204


async def test_a_deleted_key_is_gone_and_its_name_free(admin: AdminUnderTest) -> None:
    made = await admin.make_key("alice")
    deleted = await admin.call("DELETE", "/keys/alice")
    assert (deleted.status, deleted.body) == (204, b"")
    with pytest.raises(Unauthorized):
        admin.node.directory.identify(made["key"], "api", now())
    assert (await admin.call("GET", "/keys/alice")).status == 404
    assert (await admin.make_key("alice"))["id"] != made["id"]


async def test_a_forgotten_key_leaves_its_id_only(admin: AdminUnderTest) -> None:
    made = await admin.make_key("alice-at-example")
    await admin.call("DELETE", "/keys/alice-at-example")
    assert (await admin.call("POST", "/keys/alice-at-example/forget")).status == 204
    audit = (await admin.call("GET", "/audit")).body["rows"]
    assert {one["object_id"] for one in audit} == {made["id"]}
    assert "alice-at-example" not in str(audit)


async def test_rows_of_a_forgotten_key_have_its_id_in_place_of_its_name(
    admin: AdminUnderTest,
) -> None:
    name = "alice-at-example"
    made = await admin.make_key(name)
    fill(admin, row(key=name, source="store", key_id=made["id"]), row(key="bob"))
    paths = ("/usage?by=key", "/usage.csv?by=key", "/requests")
    for path in paths:
        answer = str((await admin.call("GET", path)).body)
        assert (name in answer, made["id"] in answer) == (True, False), path
    assert (await admin.call("POST", f"/keys/{name}/forget")).status == 204
    # A row that was on its way meanwhile brings the name back nowhere.
    fill(admin, row(key=name, source="store", key_id=made["id"]))
    for path in paths:
        answer = str((await admin.call("GET", path)).body)
        assert (name in answer, made["id"] in answer) == (False, True), path
    (sums,) = (await admin.call("GET", f"/usage?by=key&key={made['id']}")).body["rows"]
    assert (sums["key"], sums["requests"]) == (made["id"], 2)


async def test_a_name_is_taken_once(admin: AdminUnderTest) -> None:
    await admin.make_key("alice")
    again = await admin.call("POST", "/keys", {"name": "alice"})
    assert (again.status, again.code) == (409, "name_taken")


async def test_the_list_is_cut_into_pages_without_loss(admin: AdminUnderTest) -> None:
    names = [f"key-{number:02}" for number in range(7)]
    for name in names:
        await admin.make_key(name)
    found: list[str] = []
    cursor = ""
    while True:
        page = (await admin.call("GET", f"/keys?limit=3{cursor}")).body
        found += [key["name"] for key in page["keys"]]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert found == names
    wrong = await admin.call("GET", "/keys?cursor=nonsense")
    assert (wrong.status, wrong.body["error"]["param"]) == (400, "cursor")
    assert (await admin.call("GET", "/keys?limit=0")).status == 400


async def test_keys_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    async with running_admin(settings(tmp_path, middlewares=CONFIG_KEYS)) as admin:
        later = now() + 60_000
        for name, expires_at in (("carl", later + 1), ("alice", None), ("bob", later)):
            await admin.make_key(name, expires_at=expires_at)
            await asyncio.sleep(0.002)  # no two within one millisecond

        async def names(sort: str) -> list[str]:
            found: list[str] = []
            more = ""
            while True:
                page = (await admin.call("GET", f"/keys?limit=1&sort={sort}{more}")).body
                found += [key["name"] for key in page["keys"]]
                if page["cursor"] is None:
                    return found
                more = f"&cursor={page['cursor']}"

        assert await names("name") == ["alice", "bob", "carl", "old"]
        assert await names("created_at") == ["carl", "alice", "bob", "old"]
        in_order = await names("expires_at")
        assert in_order[:2] == ["bob", "carl"]
        assert set(in_order[2:]) == {"alice", "old"}
        assert (await admin.call("GET", "/keys?sort=colour")).body["error"]["param"] == "sort"


async def test_filters_choose_keys(admin: AdminUnderTest) -> None:
    await admin.call("POST", "/teams", {"name": "web"})
    await admin.make_key("alice", team="web")
    await admin.make_key("bob", note="from Web")
    await admin.call("POST", "/keys/bob/block")

    async def names(query: str) -> list[str]:
        return [key["name"] for key in (await admin.call("GET", f"/keys?{query}")).body["keys"]]

    assert await names("team=web") == ["alice"]
    assert await names("state=blocked") == ["bob"]
    assert await names("search=WEB") == ["bob"]
    assert await names("search=ALI") == ["alice"]
    assert await names("source=config") == []


CONFIG_KEYS: list[Any] = [
    {"api_key": {"keys": [{"name": "old", "key": "old-key-0123456789", "concurrency": 2}]}}
]


async def test_keys_of_the_configuration_are_shown_and_cannot_be_changed(tmp_path: Path) -> None:
    config = settings(tmp_path, middlewares=CONFIG_KEYS, teams=[{"name": "ops", "concurrency": 9}])
    async with running_admin(config) as admin:
        (shown,) = (await admin.call("GET", "/keys")).body["keys"]
        assert (shown["id"], shown["source"], shown["limits"]) == (
            None,
            "config",
            {"concurrency": 2},
        )
        assert (await admin.call("GET", "/keys/old")).body == shown
        for method, path, body in (
            ("PATCH", "/keys/old", {"note": "x"}),
            ("DELETE", "/keys/old", None),
            ("POST", "/keys/old/block", None),
            ("POST", "/keys/old/rotate", None),
            ("POST", "/keys/old/forget", None),
            ("PATCH", "/teams/ops", {"note": "x"}),
            ("DELETE", "/teams/ops", None),
            ("PATCH", "/admin-keys/root", {"note": "x"}),
        ):
            answer = await admin.call(method, path, body)
            assert (answer.status, answer.code) == (409, "managed_by_config"), path
        for path in ("/keys", "/admin-keys", "/teams"):
            name = {"/keys": "old", "/admin-keys": "root", "/teams": "ops"}[path]
            body = {"name": name} | ({"role": "admin"} if "admin" in path else {})
            taken = await admin.call("POST", path, body)
            assert (taken.status, taken.code) == (409, "name_taken"), path


async def test_a_key_of_the_store_may_be_in_a_team_of_the_configuration(tmp_path: Path) -> None:
    config = settings(tmp_path, middlewares=CONFIG_KEYS, teams=[{"name": "ops", "concurrency": 9}])
    async with running_admin(config) as admin:
        made = await admin.make_key("mia", team="ops")
        assert made["team"] == {"id": None, "name": "ops"}
        assert (await admin.call("GET", "/teams/ops")).body["keys"] == 1
        page = (await admin.call("GET", "/keys?team=ops")).body
        assert [key["name"] for key in page["keys"]] == ["mia"]


async def test_without_a_store_the_line_that_switches_it_on_is_named(tmp_path: Path) -> None:
    async with running_admin(settings(tmp_path, store={"url": "none"})) as admin:
        for method, path in (
            ("GET", "/keys"),
            ("POST", "/teams"),
            ("GET", "/audit"),
            ("GET", "/grants"),
            ("DELETE", "/keys/x"),
        ):
            body = {"name": "x"} if method == "POST" else None
            answer = await admin.call(method, path, body)
            assert (answer.status, answer.code) == (409, "no_store")
            assert "store: {url:" in answer.body["error"]["message"]
        assert (await admin.call("GET", "/session")).body["name"] == "root"


async def test_a_viewer_reads_keys_and_changes_nothing(admin: AdminUnderTest) -> None:
    await admin.make_key("alice")
    assert (await admin.call("GET", "/keys", key=VIEWER_KEY)).status == 200
    for method, path in (
        ("POST", "/keys"),
        ("PATCH", "/keys/alice"),
        ("DELETE", "/keys/alice"),
        ("POST", "/keys/alice/rotate"),
        ("GET", "/audit"),
        ("GET", "/admin-keys"),
        ("POST", "/grants"),
    ):
        answer = await admin.call(method, path, {} if method != "GET" else None, key=VIEWER_KEY)
        assert (answer.status, answer.code) == (403, "forbidden"), path
