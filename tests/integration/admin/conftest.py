"""Fixtures of the tests of the admin API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.admin.support import AdminUnderTest, running_admin, settings


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AdminUnderTest]:
    """An admin API with a store and three keys in its settings."""
    async with running_admin(settings(tmp_path)) as running:
        yield running
