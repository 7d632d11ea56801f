"""Single requests by the admin API: found by what one knows of them, in pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.admin.ledger import fill
from tests.integration.admin.support import AdminUnderTest
from tests.unit.ledger.support import NOON, row

LOOKS_LIKE_A_ROW = "0" * 31 + "1"


async def found(admin: AdminUnderTest, query: str) -> list[Any]:
    answer = await admin.call("GET", f"/requests{query}")
    assert answer.status == 200, answer.body
    rows: list[Any] = answer.body["rows"]
    return rows


async def test_a_request_is_found_by_what_is_known_of_it(admin: AdminUnderTest) -> None:
    good = row(request_id="req_good", account="ada", client="curl")
    bad = row(
        at=NOON + 60_000,
        request_id=LOOKS_LIKE_A_ROW,
        key="",
        team="",
        status=502,
        ended="upstream_error",
        cause="upstream_error",
    )
    fill(admin, good, bad)
    for query, expected in (
        ("?id=req_good", [good]),
        (f"?id={good.id}", [good]),
        (f"?id={LOOKS_LIKE_A_ROW}", [bad]),
        ("?id=req_nothing", []),
        ("?key=alice&team=web", [good]),
        ("?key=", [bad]),
        ("?status=502", [bad]),
        ("?cause=upstream_error&failed=true", [bad]),
        ("?account=ada", [good]),
        (f"?since={NOON + 1}", [bad]),
        (f"?until={NOON + 1}", [good]),
        ("", [bad, good]),
    ):
        rows = await found(admin, query)
        assert [r["id"] for r in rows] == [r.id for r in expected], query
    (shown,) = await found(admin, "?id=req_good")
    assert shown["key"] == "alice"
    assert shown["at"] == NOON
    assert shown["client"] == "curl"
    (nobodys,) = await found(admin, "?key=")
    assert nobodys["key"] is None
    assert nobodys["team"] is None


async def test_pages_have_each_row_once_also_while_new_ones_come(admin: AdminUnderTest) -> None:
    fill(admin, *[row(at=NOON + number // 4) for number in range(22)])
    whole = [r["id"] for r in await found(admin, "?limit=500")]
    seen: list[str] = []
    query = "?limit=5"
    while True:
        answer = (await admin.call("GET", f"/requests{query}")).body
        seen += [r["id"] for r in answer["rows"]]
        if answer["cursor"] is None:
            break
        fill(admin, row(at=NOON + 9999))
        query = f"?limit=5&cursor={answer['cursor']}"
    assert seen == whole
    assert len(seen) == 22


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?cursor=abc", "cursor"),
        ("?limit=0", "limit"),
        ("?limit=501", "limit"),
        ("?status=99", "status"),
        ("?since=-1", "since"),
        ("?address=127.0.0.1", "address"),
    ],
)
async def test_a_wrong_query_names_its_parameter(
    admin: AdminUnderTest, query: str, param: str
) -> None:
    answer = await admin.call("GET", f"/requests{query}")
    assert answer.status == 400
    assert answer.body["error"]["param"] == param
