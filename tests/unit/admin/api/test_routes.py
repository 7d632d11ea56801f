from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway.admin.api.call import AdminRoute
from gateway.admin.api.openapi import document
from gateway.admin.api.routes import BASE, admin_routes

ROUTES = list(admin_routes())
PAGE = (Path(__file__).parents[4] / "docs" / "admin.md").read_text("utf-8")
everywhere = pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")


def test_the_page_lists_every_route_with_its_role_and_no_others() -> None:
    listed = re.findall(r"^\| `([A-Z]+) (/\S+)` \| (\w+) \|", PAGE, re.MULTILINE)
    there = [(route.method, route.path, route.role or "none") for route in ROUTES]
    assert sorted(listed) == sorted([*there, ("GET", "/openapi.json", "metrics")])


@everywhere
def test_no_member_is_ignored(route: AdminRoute) -> None:
    for kind in (route.query, route.body):
        assert kind is None or kind.__struct_config__.forbid_unknown_fields


@everywhere
def test_only_an_admin_changes_something(route: AdminRoute) -> None:
    if route.path != "/session" and route.method != "GET":
        assert route.role == "admin"
    assert route.role is not None or route.path == "/session"
    assert route.body is None or route.method in ("POST", "PATCH")


def test_the_document_has_each_route_and_every_type_it_refers_to() -> None:
    made = document(ROUTES)
    assert made["openapi"].startswith("3.1.")
    operations = [
        (method.upper(), path.removeprefix(BASE), operation)
        for path, methods in made["paths"].items()
        for method, operation in methods.items()
    ]
    assert {(m, p) for m, p, _ in operations} == {(r.method, r.path) for r in ROUTES}
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(set(ids)) == len(ids)
    text = msgspec.json.encode(made).decode()
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert referred == set(made["components"]["schemas"])
