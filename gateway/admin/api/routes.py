"""Lists every route of the admin API. The OpenAPI document is made of this table.

To add one: write a handler in `resources/`, and a line here.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.admin.api.call import AdminRoute

BASE = "/admin/api/v1"


def admin_routes() -> Iterator[AdminRoute]:
    """Return the routes, in the order of the document."""
    yield from ()
