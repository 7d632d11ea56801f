from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from emulator.scenarios.registry import BadMarker, find_marker
from emulator.server import read_target
from tests.unit.emulator.support import EmulatorClient


async def test_without_a_marker_it_reports_what_it_received(member: EmulatorClient) -> None:
    reply = await member.chat("你好 and hello", agentModel="S5")
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    assert "You wrote: 你好 and hello" in reply.text
    assert "no earlier turns" in reply.text
    assert "Reply English." in reply.text
    assert "S5 (as agentModel)" in reply.text
    assert len(reply.lines) > 10
    assert set(reply.lines[-1]["usage"]) == {"input_tokens", "output_tokens", "status"}


async def test_a_long_message_and_images_are_summarised(member: EmulatorClient) -> None:
    image = "![Base64 Image](data:image/png;base64," + "A" * 50_000 + ")\n"
    reply = await member.chat(image + "x" * 5000)
    assert "5,000 characters" in reply.text
    assert "1 image." in reply.text
    assert len(reply.text) < 1000


async def test_an_unknown_marker_is_text_and_named_in_the_answer(member: EmulatorClient) -> None:
    reply = await member.chat("see [[wiki_page]]")
    assert "no scenario named 'wiki_page'" in reply.text
    assert "You wrote: see [[wiki_page]]" in reply.text


@pytest.mark.parametrize("marker", ["count m=3", "count n=many", "truncate how=gently"])
async def test_a_known_marker_with_wrong_arguments_is_a_400(
    member: EmulatorClient, marker: str
) -> None:
    reply = await member.chat(f"[[{marker}]]")
    assert reply.status == 400
    assert "the marker is [[" in reply.json["detail"]


async def test_only_the_last_user_message_selects_a_scenario(member: EmulatorClient) -> None:
    reply = await member.chat("[[empty]]\n<|end|>\n<|user|>\nhello")
    assert "You wrote: hello" in reply.text


def test_a_message_full_of_half_markers_is_searched_in_linear_time() -> None:
    """If it were not linear, this would not end in time."""
    assert find_marker("[[a b=" * 1_000_000) is None
    assert find_marker("[[a" + " b=c" * 1_000_000) is None


def test_a_marker_gives_typed_arguments() -> None:
    found = find_marker("a [[say text=a%20%5D+b piece=2 pace=0.5]] b")
    assert isinstance(found, tuple)
    assert (found[0].name, found[1]) == ("say", {"text": "a ]+b", "piece": 2, "pace": 0.5})
    assert find_marker("if [[ -f x ]]; then") is None
    with pytest.raises(BadMarker):
        find_marker("[[status body=xml]]")


async def test_echo_summarises_the_prompt_as_understood(member: EmulatorClient) -> None:
    reply = await member.chat("[[echo]]" + "é" * 3000, model="S2", extra={"a": 1})
    summary = json.loads(reply.lines[0]["delta"])
    text = "[[echo]]" + "é" * 3000
    inputs = member.chat_options(text)["json"]["inputs"]
    assert summary == {
        "blocks": [
            ["system", "Reply English.", 14],
            ["user", sha256(text.encode()).hexdigest(), 3008],
        ],
        "model": "S2",
        "agentModel": None,
        "chars": len(inputs),
        "sha256": sha256(inputs.encode()).hexdigest(),
        "meta_datas": {"model": "S2", "extra": {"a": 1}},
        "ends_with_assistant": True,
        "prefill": "",
    }


async def test_echo_survives_half_an_emoji(member: EmulatorClient) -> None:
    reply = await member.chat("[[echo]] \ud83d")
    assert json.loads(reply.lines[0]["delta"])["blocks"][1][1] == "[[echo]] \ud83d"


@pytest.mark.parametrize(
    ("marker", "deltas"),
    [
        ("say text=abcde%20f piece=3", ["abc", "de ", "f"]),
        ("count n=3", ["w0 ", "w1 ", "w2 "]),
        ("count n=2 size=6", ["w0... ", "w1... "]),
        ("burst n=2", ["w0 ", "w1 "]),
        ("repetition n=2", ["again and again "] * 2),
        ("long_line size=100000", ["x" * 100_000]),
        ("slow first=0 gap=0 n=2", ["w0 ", "w1 "]),
    ],
)
async def test_chosen_texts_arrive_in_their_pieces(
    member: EmulatorClient, marker: str, deltas: list[str]
) -> None:
    reply = await member.chat(f"[[{marker}]]")
    assert [line["delta"] for line in reply.lines[:-1]] == deltas
    assert reply.lines[-1]["usage"]["output_tokens"] == len(deltas)


@pytest.mark.parametrize(
    "marker", ["unauthorized times=2", "status code=503 times=2", "reset_before_headers times=2"]
)
async def test_counted_failures_end_after_that_many_for_the_same_prompt(
    member: EmulatorClient, marker: str
) -> None:
    outcomes: list[int] = []
    for _ in range(3):
        try:
            outcomes.append((await member.chat(f"[[{marker}]]")).status)
        except aiohttp.ClientError:
            outcomes.append(0)
    assert outcomes[0] == outcomes[1] != 200
    assert outcomes[2] == 200


async def test_retry_after_and_location_are_sent(member: EmulatorClient) -> None:
    busy = await member.chat("[[status code=429 retry_after=3]]")
    moved = await member.chat("[[redirect code=308 to=http%3A//127.0.0.1%3A1/x]]")
    assert (busy.status, busy.headers["Retry-After"]) == (429, "3")
    assert (moved.status, moved.headers["Location"]) == (308, "http://127.0.0.1:1/x")


async def test_gzip_is_used_only_if_offered(emu: Emulator, member: EmulatorClient) -> None:
    packed = await member.chat("[[gzip]]")
    member.session.headers["Accept-Encoding"] = "identity"
    plain = await member.chat("[[gzip]]")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.raw == plain.raw


@pytest.mark.parametrize("body", ["not json", '{"ft_token":"x"}', '{"inputs":5}', "[]"])
async def test_a_body_without_inputs_is_a_422(member: EmulatorClient, body: str) -> None:
    headers = {"Authorization": f"Bearer {member.access}"}
    reply = await member.request("POST", "/codeapi/chat_auth", data=body, headers=headers)
    assert reply.status == 422


@pytest.mark.parametrize(("scenario", "status"), [("chat_always_401", 401), ("banned", 403)])
async def test_an_account_scenario_can_refuse_every_chat(
    emu: Emulator, member: EmulatorClient, scenario: str, status: int
) -> None:
    emu.account("demo_user").scenarios.add(scenario)
    assert (await member.chat("[[echo]]")).status == status


@pytest.mark.parametrize(
    ("options", "status"),
    [({"max_inputs_chars": 50}, 413), ({"match_user_id": True}, 403), ({}, 200)],
)
async def test_limits_are_refused_only_if_asked_for(
    client: EmulatorClient, options: dict[str, Any], status: int
) -> None:
    async with Emulator(**options) as strict:
        client.url = strict.url
        await client.login()
        chat = client.chat_options("hello")
        assert (await client.request("POST", "/codeapi/chat_auth", **chat)).status == status


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/codeapi/chat_auth?ft_token=u&ide=vsc", "/codeapi/chat_auth", {"ft_token": "u"}),
        ("/codeapi/chat_auth?&ft_token=u", "/codeapi/chat_auth", {"ft_token": "u"}),
        ("/codeapi/chat_auth??ft_token=u", "/codeapi/chat_auth", {"ft_token": "u"}),
        ("/codeapi/chat_auth%EF%BC%9Fft_token=u", "/codeapi/chat_auth", {"ft_token": "u"}),
        ("/codeapi/chat_auth?apikey==u", "/codeapi/chat_auth", {"apikey": "u"}),
        ("//codeapi//chat_auth", "/codeapi/chat_auth", {}),
    ],
)
def test_malformed_urls_of_released_clients_are_understood(
    target: str, path: str, query: dict[str, str]
) -> None:
    got_path, got_query = read_target(target)
    assert got_path == path
    assert query.items() <= got_query.items()


async def test_a_doubled_slash_and_question_mark_work_over_the_socket(
    emu: Emulator, member: EmulatorClient
) -> None:
    options = member.chat_options("[[empty]]")
    assert (await member.request("POST", "//codeapi/chat_auth??apikey==u", **options)).status == 200
    assert emu.calls[-1].query == {"apikey": "u"}


async def test_an_unknown_path_is_a_404(client: EmulatorClient) -> None:
    reply = await client.request("GET", "/codeapi/chat_auth")
    assert (reply.status, reply.json) == (404, {"detail": "Not Found"})
