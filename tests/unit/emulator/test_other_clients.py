"""What clients call that the gateway does not: the login of 2024, counters, OPTIONS."""

from __future__ import annotations

from typing import Any

import pytest

from emulator import Emulator
from tests.unit.emulator.support import CHAT, EmulatorClient, EmulatorReply, bearer

OLD_LOGIN = "/codeuser/login"
FT_TOKEN = "/codeuser/get_ft_token"
AUTO_LOGIN = "/codeuser/auth/auto_login"
INPUTS = "<|system|>\nReply English.\n<|end|>\n<|user|>\n[[say text=Hello]]\n<|end|>\n<|assistant|>"


async def old_login(client: EmulatorClient, password: str = "correct horse") -> EmulatorReply:
    body = {"username": "demo_user", "password": password}
    return await client.request("POST", OLD_LOGIN, json=body)


async def test_the_old_login_gives_a_token_for_the_ft_token(client: EmulatorClient) -> None:
    reply = await old_login(client)
    assert (reply.status, reply.json["code"]) == (200, 200)
    data = reply.json["data"]
    assert (data["user_id"], data["username"]) == ("u_demo_user", "demo_user")
    given = await client.request("GET", FT_TOKEN, headers=bearer(data["token"]))
    assert given.status == 200
    assert given.json["status_code"] == 0
    assert given.json["data"]["fico_token"] == "FT_demo_user"


async def test_the_token_of_the_new_login_gets_the_ft_token_too(client: EmulatorClient) -> None:
    user = (await client.login()).json["user_info"]
    given = await client.request("GET", FT_TOKEN, headers=bearer(user["token"]))
    assert given.json["data"]["fico_token"] == "FT_demo_user"


@pytest.mark.parametrize("token", ["", "forged", "access"])
async def test_another_token_gets_no_ft_token(member: EmulatorClient, token: str) -> None:
    token = member.access if token == "access" else token
    reply = await member.request("GET", FT_TOKEN, headers=bearer(token))
    assert reply.status == 401
    assert "data" not in reply.json


async def test_the_old_login_refuses_a_wrong_password_without_a_code(
    client: EmulatorClient,
) -> None:
    reply = await old_login(client, "wrong")
    assert reply.status == 200
    assert "code" not in reply.json
    assert reply.json["status_code"] == 2


async def test_the_old_login_has_the_accounts_scenarios(
    emu: Emulator, client: EmulatorClient
) -> None:
    emu.account("demo_user").scenarios.add("wrong_password_401")
    assert (await old_login(client)).status == 401


async def test_an_ft_token_is_changed_for_new_tokens(client: EmulatorClient) -> None:
    reply = await client.request("POST", f"{AUTO_LOGIN}?ft_token=FT_demo_user")
    assert reply.json["user_info"]["user_id"] == "u_demo_user"
    client.access = reply.json["access_token"]
    assert (await client.chat("hi")).status == 200


@pytest.mark.parametrize(
    ("token", "code"), [("FT_nobody", 401), ("u_demo_user", 401), ("", 401), ("FT_demo_user", 403)]
)
async def test_a_token_that_may_not_log_in_is_refused_inside_a_200(
    emu: Emulator, client: EmulatorClient, token: str, code: int
) -> None:
    emu.account("demo_user").scenarios.add("banned")
    reply = await client.request("POST", f"{AUTO_LOGIN}?ft_token={token}")
    assert (reply.status, reply.json["status_code"]) == (200, code)


async def test_a_login_by_another_site_is_pending_and_then_gives_tokens(
    client: EmulatorClient,
) -> None:
    check = "/codeuser/fb_check_login_auth?client_token="
    assert (await client.request("GET", f"{check}a")).json["status_code"] == 202
    created = []
    for token in ("a", "b"):
        path = f"/codeuser/fb_sign_in?source=github&client_token={token}"
        page = await client.request("GET", path)
        assert page.headers["Content-Type"].startswith("text/html")
        assert "access_token" not in (await client.request("GET", check + token)).json
        done = (await client.request("GET", check + token)).json
        assert done["user_info"]["user_id"] == "u_demo_user"
        client.access = done["access_token"]
        assert (await client.chat("hi")).status == 200
        created.append(done["create"])
    assert created == [True, False]
    assert (await client.request("GET", "/codeuser/fb_sign_in")).status == 422


@pytest.mark.parametrize("query", ["", "?ft_token=FT_demo_user", "?no_login=1&ide=webview&apikey="])
@pytest.mark.parametrize("token", ["FT_demo_user", "FT_NOAPIKEY", ""])
async def test_a_chat_without_a_login_is_answered(
    client: EmulatorClient, query: str, token: str
) -> None:
    body = {"inputs": INPUTS, "ft_token": token}
    reply = await client.request("POST", f"/codeapi/chat{query}", json=body)
    assert (reply.status, reply.text) == (200, "Hello")


async def test_a_chat_without_a_login_has_the_scenarios_of_its_account(
    emu: Emulator, client: EmulatorClient
) -> None:
    emu.account("demo_user").scenarios.add("banned")
    for query, token, status in (
        ("?apikey=FT_demo_user", "", 403),
        ("", "FT_demo_user", 403),
        ("", "FT_NOAPIKEY", 200),
    ):
        body = {"inputs": INPUTS, "ft_token": token}
        reply = await client.request("POST", f"/codeapi/chat{query}", json=body)
        assert reply.status == status


async def test_a_chat_without_a_login_needs_inputs(client: EmulatorClient) -> None:
    assert (await client.request("POST", "/codeapi/chat", json=[])).status == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/codeuser/click_count?type=login&user_id=u_demo_user"),
        ("GET", "/codeuser/statistic_log?tracker=%7B%7D"),
        ("POST", "/codeapi/chat/feedback?ft_token=u_demo_user"),
    ],
)
async def test_what_only_counts_succeeds_without_a_token(
    client: EmulatorClient, method: str, path: str
) -> None:
    reply = await client.request(method, path)
    assert (reply.status, reply.json) == (200, {"status_code": 0, "msg": "", "data": ""})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/codeuser/pc_check_auth?user_id=u_demo_user", b"yes-4"),
        ("/codeuser/gray_test?plan_name=edit_mode_auto&ft_token=u_demo_user", b"1"),
    ],
)
async def test_features_are_switched_in_plain_text(
    client: EmulatorClient, path: str, text: bytes
) -> None:
    reply = await client.request("GET", path)
    assert (reply.status, reply.raw) == (200, text)
    assert reply.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", [CHAT, "/codeapi/completion/accept/u", "/nowhere"])
async def test_a_browser_may_ask_from_any_origin(client: EmulatorClient, path: str) -> None:
    asked = {
        "Origin": "https://editor.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    reply = await client.request("OPTIONS", path, headers=asked)
    assert reply.status == 200
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]


async def test_answers_to_a_browser_allow_its_origin(member: EmulatorClient) -> None:
    options: dict[str, Any] = member.chat_options("[[say]]")
    assert "Access-Control-Allow-Origin" not in (await member.chat("[[say]]")).headers
    options["headers"]["Origin"] = "https://editor.example"
    reply = await member.request("POST", CHAT, **options)
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
