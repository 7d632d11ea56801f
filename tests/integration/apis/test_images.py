"""Pictures in chats, as the upstream gets them."""

from __future__ import annotations

import base64
import functools
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from emulator import Emulator
from gateway.images.fetch import ImageFetcher
from tests.conftest import StartGateway
from tests.images import data_url, gif, jpeg, png, webp
from tests.support import Gateway


def user(*parts: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": part}
        for part in parts
    ]
    return {"role": role, "content": content, **more}


def picture(raw: bytes, **more: Any) -> dict[str, Any]:
    return {"url": data_url(raw), **more}


def drawn(raw: bytes, mime: str = "image/png") -> str:
    """As protocol 4.5 has it."""
    return f"![Base64 Image](data:{mime};base64,{base64.b64encode(raw).decode()})"


async def ask(gateway: Gateway, *messages: dict[str, Any]) -> tuple[int, Any]:
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.http.post(url, json={"messages": messages}) as response:
        return response.status, await response.json()


def inputs(emulator: Emulator) -> str:
    (call,) = emulator.calls_to("/codeapi/chat_auth")
    text: str = call.body["inputs"]
    return text


async def test_pictures_stand_before_the_text_of_their_message(
    gateway: Gateway, emulator: Emulator
) -> None:
    status, answer = await ask(
        gateway,
        user("What is this?", picture(png(), detail="high"), "And that?", picture(jpeg())),
    )
    assert status == 200
    assert "It came with 2 images." in answer["choices"][0]["message"]["content"]
    wanted = f"{drawn(png())}\n{drawn(jpeg(), 'image/jpeg')}\nWhat is this?\nAnd that?\n<|end|>"
    assert f"<|user|>\n{wanted}" in inputs(emulator)


async def test_pictures_of_several_turns_and_of_tools_are_all_there(
    gateway: Gateway, emulator: Emulator
) -> None:
    status, _ = await ask(
        gateway,
        user("one", picture(gif())),
        {"role": "assistant", "content": "seen"},
        user(picture(webp())),
        user("a screenshot", picture(png()), role="tool", tool_call_id="call_1"),
        user("so?"),
    )
    assert status == 200
    text = inputs(emulator)
    assert f"<|user|>\n{drawn(gif(), 'image/gif')}\none\n<|end|>" in text
    assert f"<|user|>\n{drawn(webp(), 'image/webp')}\n\n<|end|>" in text
    assert f"<|user|>\n{drawn(png())}\n" in text


async def test_an_image_url_may_be_a_plain_string(gateway: Gateway, emulator: Emulator) -> None:
    status, _ = await ask(gateway, user("look", data_url(png())) | {"role": "user"})
    assert status == 200
    message = {"role": "user", "content": [{"type": "image_url", "image_url": data_url(png())}]}
    status, _ = await ask(gateway, message)
    assert status == 200
    assert drawn(png()) in emulator.calls_to("/codeapi/chat_auth")[1].body["inputs"]


HERE = "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        (user({"url": "data:image/png;base64,***"}), HERE, "invalid_image_url"),
        (user({"url": "/etc/passwd"}), HERE, "invalid_image_url"),
        (user({"url": "https://example.org/a.png"}), HERE, "invalid_image_url"),
        (user({}), HERE, "missing_required_parameter"),
        (user(picture(b"GIF")), HERE, "invalid_image_url"),
        (user(picture(png(100_000, 100_000))), HERE, "image_too_large"),
        (user(picture(png()), role="system"), "messages[0].content[0].type", "unsupported_value"),
        (
            user(picture(png()), role="assistant"),
            "messages[0].content[0].type",
            "unsupported_value",
        ),
        (
            {"role": "user", "content": [{"type": "image_url"}]},
            "messages[0].content[0].image_url",
            "missing_required_parameter",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio"}]},
            "messages[0].content[0].type",
            "unsupported_value",
        ),
    ],
)
async def test_a_picture_that_cannot_be_used_is_refused_with_its_place(
    gateway: Gateway, emulator: Emulator, message: dict[str, Any], param: str, code: str
) -> None:
    status, answer = await ask(gateway, message)
    assert status == 400
    assert (answer["error"]["param"], answer["error"]["code"]) == (param, code)
    assert not emulator.calls_to("/codeapi/chat_auth")


async def test_pictures_over_the_prompts_limit_are_refused_in_words_that_help(
    gateway: Gateway, emulator: Emulator
) -> None:
    status, answer = await ask(gateway, user("look", picture(png(padding=240_000))))
    assert status == 400
    assert answer["error"]["code"] == "context_length_exceeded"
    assert answer["error"]["param"] == "messages"
    assert "are images" in answer["error"]["message"]
    assert not emulator.calls_to("/codeapi/chat_auth")


async def test_the_limits_can_be_set(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(images={"max_bytes": 100, "max_pixels": 5})
    status, answer = await ask(gateway, user(picture(png())))
    assert (status, answer["error"]["code"]) == (400, "image_too_large")


async def test_an_address_inside_is_not_fetched_even_where_fetching_is_on(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(images={"remote": True, "remote_http": True})
    status, answer = await ask(gateway, user({"url": f"{emulator.url}/codeuser/user_info"}))
    assert (status, answer["error"]["code"]) == (400, "invalid_image_url")
    assert answer["error"]["param"] == HERE
    assert not emulator.calls_to("/codeuser/user_info")


async def test_nothing_is_fetched_for_a_model_that_is_not_known(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    async def image(request: web.Request) -> web.Response:
        fetched.append(request.path)
        return web.Response(body=png())

    loopback_too = functools.partial(ImageFetcher, allowed=lambda _: True)
    monkeypatch.setattr("gateway.app.ImageFetcher", loopback_too)
    app = web.Application()
    app.router.add_get("/{name}", image)
    async with TestServer(app) as server:
        gateway = await start_gateway(images={"remote": True, "remote_http": True})
        messages = [user({"url": str(server.make_url("/one.png"))})]
        url = f"{gateway.url}/v1/chat/completions"
        for model, status, requests in (("no-such-model", 404, []), ("", 200, ["/one.png"])):
            async with gateway.http.post(url, json={"model": model, "messages": messages}) as got:
                assert got.status == status
            assert fetched == requests
