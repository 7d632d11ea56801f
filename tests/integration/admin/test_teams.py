"""Teams, grants and the audit over the admin API."""

from __future__ import annotations

import time

import pytest

from gateway.errors import KeyBlocked
from tests.integration.admin.support import AdminUnderTest


def now() -> int:
    return time.time_ns() // 1_000_000


async def test_a_team_holds_limits_for_its_keys(admin: AdminUnderTest) -> None:
    made = await admin.call("POST", "/teams", {"name": "web", "limits": {"concurrency": 10}})
    assert (made.status, made.body["limits"]) == (201, {"concurrency": 10})
    key = await admin.make_key("alice", team="web")
    principal = admin.node.directory.identify(key["key"], "api", now())
    assert (principal.team, principal.team_id) == ("web", made.body["id"])
    assert (await admin.call("GET", "/teams/web")).body["keys"] == 1
    changed = await admin.call("PATCH", "/teams/web", {"limits": {"concurrency": None}})
    assert changed.body["limits"] == {}
    stale = await admin.call("PATCH", "/teams/web", {"note": "x"}, headers={"If-Match": '"1"'})
    assert (stale.status, stale.code) == (412, "version_conflict")


async def test_a_blocked_team_blocks_its_keys_at_once(admin: AdminUnderTest) -> None:
    await admin.call("POST", "/teams", {"name": "web"})
    key = await admin.make_key("alice", team="web")
    assert (await admin.call("POST", "/teams/web/block")).status == 200
    with pytest.raises(KeyBlocked):
        admin.node.directory.identify(key["key"], "api", now())
    assert (await admin.call("GET", "/keys/alice")).body["state"] == "team_blocked"
    assert (await admin.call("POST", "/teams/web/unblock")).status == 200
    admin.node.directory.identify(key["key"], "api", now())


async def test_a_team_with_keys_is_deleted_only_as_somebody_says(admin: AdminUnderTest) -> None:
    for name in ("web", "apps"):
        await admin.call("POST", "/teams", {"name": name})
    key = await admin.make_key("alice", team="web")
    refused = await admin.call("DELETE", "/teams/web")
    assert (refused.status, refused.code) == (409, "team_has_keys")
    assert (await admin.call("DELETE", "/teams/web?keys=all")).status == 400
    assert (await admin.call("DELETE", "/teams/web?keys=move:apps")).status == 204
    assert admin.node.directory.identify(key["key"], "api", now()).team == "apps"
    assert (await admin.call("DELETE", "/teams/apps?keys=block")).status == 204
    with pytest.raises(KeyBlocked):
        admin.node.directory.identify(key["key"], "api", now())


async def test_all_keys_of_a_team_are_changed_at_once_or_none(admin: AdminUnderTest) -> None:
    await admin.call("POST", "/teams", {"name": "web"})
    texts = {}
    for name in ("alice", "bob"):
        limits = {"concurrency": 2, "tokens_per_day": 10}
        texts[name] = (await admin.make_key(name, team="web", limits=limits))["key"]
    texts["carol"] = (await admin.make_key("carol", limits={"concurrency": 2}))["key"]
    published = len(admin.node.published)
    body = {"limits": {"concurrency": None, "tokens_per_day": 20}, "routes": ["chat"]}
    changed = await admin.call("PATCH", "/keys?team=web", body)
    assert changed.status == 200, changed.body
    assert [key["name"] for key in changed.body["keys"]] == ["alice", "bob"]
    assert changed.body["applied"] == {"confirmed": 1, "of": 1}
    assert len(admin.node.published) == published + 1

    def limits_of(name: str) -> dict[str, int]:
        return dict(admin.node.directory.identify(texts[name], "api", now()).limits)

    assert [limits_of(name) for name in ("alice", "bob")] == [{"tokens_per_day": 20}] * 2
    assert limits_of("carol") == {"concurrency": 2}
    rows = (await admin.call("GET", "/audit?action=key.change")).body["rows"]
    assert {row["object_name"] for row in rows} == {"alice", "bob"}
    for query, refused, param in (
        ("?team=web", {"name": "same"}, "name"),
        ("?team=web", {"routes": ["embeddings"]}, "routes"),
        ("?team=web", {"team": "nowhere"}, "team"),
        ("?team=nowhere", {}, "team"),
        ("", {}, "team"),
    ):
        answer = await admin.call("PATCH", f"/keys{query}", refused)
        assert (answer.status, answer.body["error"]["param"]) == (400, param)
    moved = await admin.call("PATCH", "/keys?team=web", {"team": None})
    assert [key["team"] for key in moved.body["keys"]] == [None, None]
    assert (await admin.call("PATCH", "/keys?team=web", {"note": "x"})).body["keys"] == []


async def test_a_grant_raises_a_limit_for_a_day(admin: AdminUnderTest) -> None:
    key = await admin.make_key("alice", limits={"tokens_per_day": 1000})
    body = {"scope": "key", "scope_id": "alice", "limit": "tokens_per_day", "amount": 500}
    once = {"Idempotency-Key": "raise-1"}
    made = await admin.call("POST", "/grants", body, headers=once)
    again = await admin.call("POST", "/grants", body, headers=once)
    assert (made.status, made.body["name"], made.body["scope_id"]) == (201, "alice", key["id"])
    assert again.body["id"] == made.body["id"]
    principal = admin.node.directory.identify(key["key"], "api", now())
    assert principal.limits["tokens_per_day"] == 1500
    listed = (await admin.call("GET", "/grants?scope_id=alice")).body["grants"]
    assert [grant["id"] for grant in listed] == [made.body["id"]]
    unknown = await admin.call("POST", "/grants", body | {"scope_id": "nobody"})
    assert (unknown.status, unknown.code) == (404, "not_found")


async def test_the_audit_says_who_changed_what(admin: AdminUnderTest) -> None:
    made = await admin.make_key("alice", limits={"concurrency": 1})
    changed = await admin.call("PATCH", "/keys/alice", {"limits": {"concurrency": 2}}, unix=True)
    rows = (await admin.call("GET", "/audit")).body["rows"]
    assert [row["action"] for row in rows] == ["key.change", "key.add"]
    assert rows[0]["change"] == {"limits.concurrency": [1, 2]}
    assert rows[0]["request_id"] == changed.headers["x-request-id"]
    assert rows[0]["actor"].startswith("local:")
    assert (rows[1]["actor"], rows[1]["address"]) == ("root", "127.0.0.1")
    assert made["key"] not in str(rows)
    first = (await admin.call("GET", "/audit?limit=1")).body
    second = (await admin.call("GET", f"/audit?limit=1&cursor={first['cursor']}")).body
    assert [page["rows"][0]["action"] for page in (first, second)] == ["key.change", "key.add"]
    chosen = (await admin.call("GET", "/audit?action=key.add&actor=root")).body["rows"]
    assert len(chosen) == 1
