from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from emulator import EmulatedAccount, Emulator
from emulator.endpoints.login import duration
from tests.unit.emulator.support import EmulatorClient, bearer

REFRESH_REFRESH = "/codeuser/auth/refresh_refresh_token"
MODELS = "/codeapi/chat/models"


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    result: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return result


async def test_login_gives_two_jwts_and_the_user_id(client: EmulatorClient) -> None:
    before = int(time.time())
    reply = await client.login()
    after = time.time()
    assert reply.status == 200
    assert reply.json["user_info"]["user_id"] == "u_demo_user"
    assert before <= claims(client.access)["exp"] - 86400 <= after
    assert before <= claims(client.refresh)["exp"] - 30 * 86400 <= after


async def test_two_logins_never_give_the_same_token(client: EmulatorClient) -> None:
    await client.login()
    first = client.access
    await client.login()
    assert client.access != first


@pytest.mark.parametrize(
    ("user", "password"), [("demo_user", "wrong"), ("nobody", "correct horse")]
)
async def test_a_wrong_name_or_password_is_refused_inside_a_200(
    client: EmulatorClient, user: str, password: str
) -> None:
    reply = await client.login(user, password)
    assert reply.status == 200
    assert reply.json == {"data": "", "status_code": 2, "msg": "用户名或密码不正确"}


@pytest.mark.parametrize(
    ("scenario", "status", "part"),
    [
        ("wrong_password_200", 200, b'"status_code": 2,'),
        ("wrong_password_401", 401, b"Incorrect username"),
        ("login_422", 422, b"field required"),
        ("login_500", 500, b"Internal Server Error"),
        ("login_html_502", 502, b"<title>502 Bad Gateway</title>"),
        ("login_not_json", 200, b"ok"),
        ("login_incomplete", 200, b'"user_info": {}'),
        ("banned", 200, b'"status_code": 403'),
    ],
)
async def test_each_login_failure_has_its_status_and_body(
    emu: Emulator, client: EmulatorClient, scenario: str, status: int, part: bytes
) -> None:
    emu.account("demo_user").scenarios.add(scenario)
    reply = await client.login()
    assert reply.status == status
    assert part in reply.raw


@pytest.mark.parametrize("body", [{"username": "demo_user"}, {"password": 5}, [], "x"])
async def test_an_incomplete_login_body_is_a_422(client: EmulatorClient, body: Any) -> None:
    assert (await client.request("POST", "/codeuser/auth/login", json=body)).status == 422


@pytest.mark.parametrize("options", [{}, {"json": {}}])
async def test_refresh_gives_a_new_access_token_with_or_without_a_body(
    member: EmulatorClient, options: dict[str, Any]
) -> None:
    reply = await member.renew(**options)
    assert reply.status == 200
    assert set(reply.json) == {"access_token", "access_token_expires"}
    assert reply.json["access_token_expires"] == "P1D"
    assert reply.json["access_token"] != member.access
    member.access = reply.json["access_token"]
    assert (await member.chat("hi")).status == 200


@pytest.mark.parametrize(
    ("scenario", "status", "part"),
    [
        ("refresh_not_expired", 200, b'"access_token": "Not expired"'),
        ("refresh_401", 401, b"Invalid token"),
        ("refresh_404", 404, b"User not found"),
        ("refresh_500", 500, b"Internal Server Error"),
        ("refresh_error_200", 200, b'"status_code": 401'),
        ("banned", 403, b"banned"),
    ],
)
async def test_each_refresh_failure_has_its_status_and_body(
    emu: Emulator, member: EmulatorClient, scenario: str, status: int, part: bytes
) -> None:
    emu.account("demo_user").scenarios.add(scenario)
    access = await member.renew()
    both = await member.request("POST", REFRESH_REFRESH, json=member.refresh)
    assert (access.status, both.status) == (status, status)
    assert part in access.raw
    assert part in both.raw


async def test_a_rotated_refresh_token_replaces_the_old_one(
    emu: Emulator, member: EmulatorClient
) -> None:
    emu.account("demo_user").scenarios.add("refresh_rotates")
    rotated = (await member.renew()).json["refresh_token"]
    assert (await member.renew()).status == 401
    member.refresh = rotated
    assert (await member.renew()).status == 200


async def test_refresh_refresh_token_takes_a_bare_string_and_gives_both(
    member: EmulatorClient,
) -> None:
    reply = await member.request("POST", REFRESH_REFRESH, json=member.refresh)
    assert reply.status == 200
    assert reply.json["refresh_token_expires"] == "P30D"
    member.access, member.refresh = reply.json["access_token"], reply.json["refresh_token"]
    assert (await member.chat("hi")).status == 200
    assert (await member.renew()).status == 200


async def test_refresh_refresh_token_refuses_an_object_and_a_foreign_string(
    member: EmulatorClient,
) -> None:
    as_object = await member.request("POST", REFRESH_REFRESH, json={"token": member.refresh})
    foreign = await member.request("POST", REFRESH_REFRESH, json="foreign")
    assert as_object.status == 422
    assert (foreign.status, foreign.json["status_code"]) == (200, 401)


async def test_the_access_token_is_no_refresh_token_and_the_reverse(member: EmulatorClient) -> None:
    member.access, member.refresh = member.refresh, member.access
    assert (await member.renew()).status == 401
    assert (await member.chat("hi")).status == 401


async def test_tokens_expire_by_the_movable_clock(emu: Emulator, member: EmulatorClient) -> None:
    emu.clock.advance(86400 - 60)
    assert (await member.chat("hi")).status == 200
    emu.clock.advance(61)
    expired = await member.chat("hi")
    assert expired.status == 401
    assert expired.json["detail"] == "Token time expired: expired_token: The token is expired"
    assert (await member.renew()).status == 200
    emu.clock.advance(30 * 86400)
    assert (await member.renew()).status == 401


async def test_revoked_tokens_are_refused_and_new_ones_accepted(
    emu: Emulator, member: EmulatorClient
) -> None:
    emu.account("demo_user").revoke_access()
    assert (await member.chat("hi")).status == 401
    member.access = (await member.renew()).json["access_token"]
    assert (await member.chat("hi")).status == 200
    emu.account("demo_user").revoke_refresh()
    assert (await member.renew()).status == 401


@pytest.mark.parametrize(
    "forged", ["", "x", "a.b.c", "a.é.c", "fo_", "fo_!!", "eyJhbGciOiJub25lIn0.e30."]
)
async def test_a_forged_token_is_a_401(member: EmulatorClient, forged: str) -> None:
    member.access = forged
    reply = await member.chat("hi")
    assert reply.status == 401
    assert reply.json["detail"] == "Invalid token: Signature verification failed."


async def test_a_changed_signature_is_a_401(member: EmulatorClient) -> None:
    member.access = member.access[:-4] + "AAAA"
    assert (await member.chat("hi")).status == 401


@pytest.mark.parametrize("scenario", ["token_without_exp", "opaque_token", "clock_ahead"])
async def test_tokens_of_odd_forms_are_accepted(
    emu: Emulator, client: EmulatorClient, scenario: str
) -> None:
    emu.account("demo_user").scenarios.add(scenario)
    await client.login()
    if scenario == "token_without_exp":
        assert "exp" not in claims(client.access)
    elif scenario == "clock_ahead":
        assert claims(client.access)["exp"] < time.time()
    else:
        assert "." not in client.access
    assert (await client.chat("hi")).status == 200
    assert (await client.renew()).status == 200


async def test_slow_scenarios_wait_before_they_answer(
    emu: Emulator, client: EmulatorClient
) -> None:
    emu.account("demo_user").scenarios.update({"login_slow", "refresh_slow", "models_slow"})
    for call in ("login", "renew", "models"):
        before = time.perf_counter()
        if call == "login":
            await client.login()
        elif call == "renew":
            await client.renew()
        else:
            await client.request("GET", MODELS, headers=bearer(client.access))
        assert time.perf_counter() - before >= 0.1, call


async def test_user_info_and_notifications_need_the_access_token(member: EmulatorClient) -> None:
    info = await member.request("GET", "/codeuser/user_info", headers=bearer(member.access))
    assert info.json["user_id"] == "u_demo_user"
    assert (await member.request("GET", "/codeuser/user_info")).status == 401
    news = await member.request(
        "POST", "/codeuser/get_notifications", headers=bearer(member.access), json={"page": 1}
    )
    assert news.status == 200


@pytest.mark.parametrize(
    ("scenario", "status", "part"),
    [
        (None, 200, b'"selection_name": "S5"'),
        ("models_404", 404, b"Not Found"),
        ("models_html", 200, b"<html>"),
        ("models_odd", 200, b'"junk"'),
        ("models_duplicates", 200, b'"selection_name": "S7"'),
    ],
)
async def test_each_model_list_has_its_status_and_body(
    emu: Emulator, member: EmulatorClient, scenario: str | None, status: int, part: bytes
) -> None:
    if scenario:
        emu.account("demo_user").scenarios.add(scenario)
    reply = await member.request("GET", MODELS, headers=bearer(member.access))
    assert reply.status == status
    assert part in reply.raw
    assert (await member.request("GET", MODELS)).status == 401


def test_a_misspelt_account_scenario_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="refresh_401"):
        EmulatedAccount("a", "b", scenarios={"refresh_402"})


@pytest.mark.parametrize(("seconds", "text"), [(86400, "P1D"), (90, "PT90S"), (90000, "PT90000S")])
def test_lifetimes_are_iso_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
