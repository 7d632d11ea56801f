"""Usage by the admin API: every grouping has the same sum, and CSV has the rows of JSON."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.admin.api.resources import usage
from gateway.ledger.batch import SUMS
from gateway.ledger.queries import Group
from tests.integration.admin.ledger import FORMULA, fill
from tests.integration.admin.support import (
    METRICS_KEY,
    VIEWER_KEY,
    AdminUnderTest,
    running_admin,
    settings,
)

NAMES = get_args(Group)
COLUMNS = (*SUMS, "total_tokens")


async def report(admin: AdminUnderTest, query: str = "", **options: Any) -> Any:
    answer = await admin.call("GET", f"/usage{query}", **options)
    assert answer.status == 200, answer.body
    return answer.body


async def table(admin: AdminUnderTest, query: str, path: str = "/usage.csv") -> list[list[str]]:
    answer = await admin.call("GET", path + query, headers={"Accept": "text/csv"})
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.body.decode(), newline="")))


async def test_the_sum_over_every_grouping_is_equal_and_csv_is_json(
    admin: AdminUnderTest,
) -> None:
    fill(admin)
    totals = (await report(admin))["totals"]
    assert totals["requests"] == 23
    assert totals["refused"] == 1
    assert totals["failed"] == 7
    groupings = itertools.chain.from_iterable(
        itertools.permutations(NAMES, size) for size in range(1, len(NAMES) + 1)
    )
    for by in itertools.islice(groupings, 0, None, 7):
        query = f"?by={','.join(by)}"
        found = await report(admin, query)
        assert found["totals"] == totals
        assert found["by"] == list(by)
        assert {name: sum(r[name] for r in found["rows"]) for name in COLUMNS} == totals
        head, *lines = await table(admin, query)
        assert head == [*by, *COLUMNS]
        shown = [
            [_cell(r[name]) for name in by] + [str(r[name]) for name in COLUMNS]
            for r in found["rows"]
        ]
        assert lines == shown


def _cell(name: str | None) -> str:
    """A name as CSV has it: nothing for no key, and an apostrophe before a formula."""
    return f"'{name}" if name == FORMULA else name or ""


async def test_a_filter_holds_for_rows_totals_and_csv(admin: AdminUnderTest) -> None:
    fill(admin)
    query = "?by=day,model&from=2026-11-29&to=2026-11-30&key=alice&route=chat"
    found = await report(admin, query)
    assert (found["from"], found["to"], found["lost"]) == ("2026-11-29", "2026-11-30", 3)
    assert found["time_zone"] == str(admin.config.time_zone)
    assert found["totals"]["requests"] == sum(r["requests"] for r in found["rows"]) == 2
    assert len(await table(admin, query)) == 1 + len(found["rows"])
    nobody = await report(admin, "?by=key&key=")
    assert [r["key"] for r in nobody["rows"]] == [None]
    none = await report(admin, "?by=team&team=nobody-of-this-name")
    assert none["rows"] == []
    assert none["totals"]["requests"] == 0


async def test_csv_comes_by_its_url_and_by_accept_with_a_name_and_a_mark_for_excel(
    admin: AdminUnderTest,
) -> None:
    fill(admin)
    by_url = await admin.call("GET", "/usage.csv?by=key&from=2026-11-28&bom=true")
    name = 'attachment; filename="usage-by-key_2026-11-28_today.csv"'
    assert by_url.headers["Content-Disposition"] == name
    assert by_url.body.startswith(b"\xef\xbb\xbfkey,requests,")
    assert by_url.body.count(b"\r\n") == by_url.body.count(b"\n") == 5
    assert await table(admin, "?by=key", "/usage") == await table(admin, "?by=key")
    assert isinstance(await report(admin, headers={"Accept": "*/*"}), dict)
    (audited, _) = (await admin.call("GET", "/audit?action=usage.export&limit=2")).body["rows"]
    assert audited["actor"] == "root"
    assert audited["object_name"] == "key"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?by=account", "by"),
        ("?by=", "by"),
        ("?from=2026-13-01", "from"),
        ("?to=2026-11-32", "to"),
        ("?to=yesterday", "to"),
        ("?since=2026-11-01", "since"),
        ("?by=key&by=day", "by"),
        ("?bom=perhaps", "bom"),
    ],
)
async def test_a_wrong_query_names_its_parameter(
    admin: AdminUnderTest, query: str, param: str
) -> None:
    for path in ("/usage", "/usage.csv"):
        answer = await admin.call("GET", path + query)
        assert answer.status == 400
        assert answer.body["error"]["param"] == param


async def test_odd_texts_in_a_query_find_nothing_and_harm_nothing(admin: AdminUnderTest) -> None:
    fill(admin)
    for text in ("%00", "%ff", "%ed%a0%80", "%F0%9F%98%80", "%27%3B--", "a" * 200, "%E2%80%AE"):
        for query in (f"/usage?key={text}", f"/usage.csv?model={text}", f"/requests?id={text}"):
            answer = await admin.call("GET", query)
            assert answer.status == 200, (query, answer.body)
    assert [r["day"] for r in (await report(admin, "?by=day,day"))["rows"]] == [
        *("2026-11-28", "2026-11-29"),
        "2026-11-30",
    ]


async def test_more_rows_than_an_answer_may_have_are_refused(
    admin: AdminUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(admin)
    monkeypatch.setattr(usage, "MOST_ROWS", 3)
    for path in ("/usage", "/usage.csv"):
        answer = await admin.call("GET", f"{path}?by=day,model")
        assert (answer.status, answer.code) == (400, "invalid_value")
        assert "fewer days" in answer.body["error"]["message"]
    assert len((await report(admin, "?by=day"))["rows"]) == 3


async def test_a_viewer_sees_sums_and_no_single_request(admin: AdminUnderTest) -> None:
    fill(admin)
    assert (await report(admin, key=VIEWER_KEY))["totals"]["requests"] == 23
    for path in ("/requests", "/live"):
        answer = await admin.call("GET", path, key=VIEWER_KEY)
        assert (answer.status, answer.code) == (403, "forbidden")
    assert (await admin.call("GET", "/usage", key=METRICS_KEY)).status == 403


async def test_without_a_store_the_answer_says_how_to_switch_it_on(tmp_path: Path) -> None:
    async with running_admin(settings(tmp_path, store={"url": "none"})) as admin:
        for path in ("/usage", "/usage.csv", "/requests"):
            answer = await admin.call("GET", path)
            assert (answer.status, answer.code) == (409, "no_store")
            assert "store:" in answer.body["error"]["message"]
        assert (await admin.call("GET", "/live")).body == {"requests": [], "complete": True}
        assert (await admin.call("GET", "/health")).status == 200
