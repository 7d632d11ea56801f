"""What failed calls mean: which answers to a login concern the account, and which do not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from gateway.config import settings as config
from gateway.errors import (
    AccountRefused,
    GatewayError,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from gateway.fitten.auth.session import FittenSession
from gateway.fitten.error_mapping import (
    error_object,
    login_object_error,
    login_status_error,
    retry_after,
)
from gateway.options import Secret
from gateway.store.token_file import TokenFile


class FailureClient:
    """A Fitten whose login fails."""

    def __init__(self, error: GatewayError) -> None:
        self.error = error

    async def login(self, *_: str) -> Any:
        raise self.error


async def after_a_login(error: GatewayError, folder: Path) -> FittenSession:
    """A session whose first login failed so."""
    client: Any = FailureClient(error)
    account = config.AccountSettings("demo_user", Secret("wrong horse"))
    session = FittenSession(client, account, TokenFile(folder / "fitten.json", "demo_user"))
    with pytest.raises(GatewayError):
        await session.tokens()
    return session


@pytest.mark.parametrize("status", [401, 403])
async def test_a_login_that_is_refused_makes_the_account_dead(status: int, tmp_path: Path) -> None:
    session = await after_a_login(login_status_error(status), tmp_path)
    assert isinstance(session.fault, AccountRefused)
    assert session.blocked() == math.inf


@pytest.mark.parametrize(
    "status", [301, 302, 307, 308, 400, 404, 405, 407, 413, 418, 422, 500, 503]
)
async def test_a_login_at_the_wrong_place_is_tried_again_soon(status: int, tmp_path: Path) -> None:
    """A mistyped URL, or a proxy on the way, says nothing about a password."""
    error = login_status_error(status)
    assert type(error) is UpstreamError
    assert error.retryable
    session = await after_a_login(error, tmp_path)
    assert session.fault is error
    assert 0.9 < session.blocked() <= 1.2


@pytest.mark.parametrize("status", [301, 404, 422])
def test_a_login_at_the_wrong_place_says_where_to_look(status: int) -> None:
    message = login_status_error(status).message
    assert str(status) in message
    assert "fitten.base_url" in message


def test_rate_limits_and_timeouts_mean_the_same_at_the_login_as_elsewhere() -> None:
    assert isinstance(login_status_error(429, 7.0), RateLimited)
    assert isinstance(login_status_error(504), UpstreamTimeout)


async def test_the_wait_that_a_limited_login_names_is_kept(tmp_path: Path) -> None:
    session = await after_a_login(login_status_error(429, 90.0), tmp_path)
    assert 89 < session.blocked() <= 90


@pytest.mark.parametrize("number", [400, 401, 403, 404, 422, 1000])
def test_an_error_object_with_a_good_status_is_a_refusal(number: int) -> None:
    error = error_object({"status_code": number, "msg": "made up", "data": ""})
    assert error is not None
    refused = isinstance(login_object_error(error), UpstreamUnauthorized)
    assert refused == (number < 500)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("7", 7.0), ("99999", 300.0), ("", None), ("-1", None), ("1e9", None)],
)
def test_a_wait_is_a_number_of_seconds_of_five_minutes_at_most(
    value: str, seconds: float | None
) -> None:
    assert retry_after(value) == seconds
