"""Images in chats, as the upstream gets them."""

from __future__ import annotations

import base64
import functools
from typing import Any
from urllib.parse import quote

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


def image_part(raw: bytes, **more: Any) -> dict[str, Any]:
    return {"url": data_url(raw), **more}


def encoded(raw: bytes, mime: str = "image/png") -> str:
    """Return the image as in protocol 4.5."""
    return f"![Base64 Image](data:{mime};base64,{base64.b64encode(raw).decode()})"


async def ask(gateway: Gateway, *messages: dict[str, Any]) -> tuple[int, Any]:
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.http.post(url, json={"messages": messages}) as response:
        return response.status, await response.json()


def inputs(emulator: Emulator) -> str:
    (call,) = emulator.calls_to("/codeapi/chat_auth")
    text: str = call.body["inputs"]
    return text


async def test_images_stand_before_the_text_of_their_message(
    gateway: Gateway, emulator: Emulator
) -> None:
    status, answer = await ask(
        gateway,
        user("What is this?", image_part(png(), detail="high"), "And that?", image_part(jpeg())),
    )
    assert status == 200
    assert "It came with 2 images." in answer["choices"][0]["message"]["content"]
    wanted = f"{encoded(png())}\n{encoded(jpeg(), 'image/jpeg')}\nWhat is this?\nAnd that?\n<|end|>"
    assert f"<|user|>\n{wanted}" in inputs(emulator)


async def test_images_of_several_turns_and_of_tools_are_all_sent(
    gateway: Gateway, emulator: Emulator
) -> None:
    status, _ = await ask(
        gateway,
        user("one", image_part(gif())),
        {"role": "assistant", "content": "seen"},
        user(image_part(webp())),
        user("a screenshot", image_part(png()), role="tool", tool_call_id="call_1"),
        user("so?"),
    )
    assert status == 200
    text = inputs(emulator)
    assert f"<|user|>\n{encoded(gif(), 'image/gif')}\none\n<|end|>" in text
    assert f"<|user|>\n{encoded(webp(), 'image/webp')}\n\n<|end|>" in text
    assert f"<|user|>\n{encoded(png())}\n" in text


async def test_an_image_of_an_assistant_stands_in_its_turn(
    gateway: Gateway, emulator: Emulator
) -> None:
    status, _ = await ask(
        gateway,
        user("draw"),
        user("Here it is.", image_part(png()), role="assistant"),
        user("nice"),
    )
    assert status == 200
    assert f"<|assistant|>\n{encoded(png())}\nHere it is.\n<|end|>" in inputs(emulator)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + base64.encodebytes(png()).decode(),
        "data:image/png;base64," + quote(base64.b64encode(png()).decode(), safe=""),
        "data:image/png;base64," + base64.urlsafe_b64encode(png()).decode().rstrip("="),
        "data:image/png," + quote(png()),
    ],
    ids=["line ends", "percent-encoding", "alphabet of URLs", "no base64"],
)
async def test_a_data_url_in_another_form_reaches_the_model_in_the_usual_one(
    gateway: Gateway, emulator: Emulator, url: str
) -> None:
    status, answer = await ask(gateway, user("look", {"url": url}))
    assert status == 200, answer
    assert f"<|user|>\n{encoded(png())}\nlook\n<|end|>" in inputs(emulator)


async def test_an_image_url_may_be_a_plain_string(gateway: Gateway, emulator: Emulator) -> None:
    status, _ = await ask(gateway, user("look", data_url(png())) | {"role": "user"})
    assert status == 200
    message = {"role": "user", "content": [{"type": "image_url", "image_url": data_url(png())}]}
    status, _ = await ask(gateway, message)
    assert status == 200
    assert encoded(png()) in emulator.calls_to("/codeapi/chat_auth")[1].body["inputs"]


HERE = "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        (user({"url": "data:image/png;base64,***"}), HERE, "invalid_image_url"),
        (user({"url": "/etc/passwd"}), HERE, "invalid_image_url"),
        (user({"url": "https://example.org/a.png"}), HERE, "invalid_image_url"),
        (user({}), HERE, "missing_required_parameter"),
        (user(image_part(b"GIF")), HERE, "invalid_image_url"),
        (user(image_part(png(100_000, 100_000))), HERE, "image_too_large"),
        (
            user(image_part(png()), role="system"),
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
async def test_an_image_that_cannot_be_used_is_refused_with_its_path(
    gateway: Gateway, emulator: Emulator, message: dict[str, Any], param: str, code: str
) -> None:
    status, answer = await ask(gateway, message)
    assert status == 400
    assert (answer["error"]["param"], answer["error"]["code"]) == (param, code)
    assert not emulator.calls_to("/codeapi/chat_auth")


async def test_images_over_the_prompts_limit_are_refused_with_advice(
    gateway: Gateway, emulator: Emulator
) -> None:
    status, answer = await ask(gateway, user("look", image_part(png(padding=240_000))))
    assert status == 400
    assert answer["error"]["code"] == "context_length_exceeded"
    assert answer["error"]["param"] == "messages"
    assert "are images" in answer["error"]["message"]
    assert not emulator.calls_to("/codeapi/chat_auth")


async def test_the_limits_can_be_set(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(images={"max_bytes": 100, "max_pixels": 5})
    status, answer = await ask(gateway, user(image_part(png())))
    assert (status, answer["error"]["code"]) == (400, "image_too_large")


async def test_an_internal_address_is_never_fetched(
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
