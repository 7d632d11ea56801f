"""Code completion: the version, and each form of a request for text at the cursor."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

import pytest

from emulator import Emulator
from tests.unit.emulator.support import EmulatorClient, EmulatorReply, bearer

VERSION = "/codeuser/get_completion_version"
FULL = "/codeapi/completion2_1/generate_one_stage_auth/u_demo_user"
SIMPLE = "/codeapi/completion/generate_one_stage/"
ACCEPT = "/codeapi/completion/accept/"


async def completed(
    client: EmulatorClient, prefix: str, suffix: str = "", path: str = FULL, **meta: Any
) -> EmulatorReply:
    """The answer to a request for a whole text, in the full form."""
    text = prefix + suffix
    positions = {"plen": 0, "slen": 0, "bplen": 0, "bslen": 0, "pmd5": "", "filename": "a.py"}
    cursor = {"cpos": len(prefix.encode("utf-16-le")) // 2, "bcpos": len(prefix.encode())}
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    datas = {**positions, **cursor, "nmd5": digest, "diff": text, **meta}
    body = gzip.compress(json.dumps({"inputs": "", "meta_datas": datas}).encode())
    headers = {**bearer(client.access), "Content-Encoding": "gzip"}
    return await client.request("POST", path, data=body, headers=headers)


def simple_inputs(prefix: str, suffix: str = "") -> dict[str, Any]:
    return {"inputs": f"!FCPREFIX!{prefix}!FCSUFFIX!{suffix}!FCMIDDLE!"}


@pytest.mark.parametrize("query", ["?ft_token=u_demo_user", "?ft_token=nobody", ""])
async def test_the_version_needs_no_token(client: EmulatorClient, query: str) -> None:
    reply = await client.request("GET", VERSION + query)
    assert (reply.status, reply.raw) == (200, b'"1"')
    forged = await client.request("GET", VERSION + query, headers=bearer("forged"))
    assert (forged.status, forged.raw) == (200, b'"1"')


async def test_an_account_scenario_demands_a_token_for_the_version(
    emu: Emulator, member: EmulatorClient
) -> None:
    emu.account("demo_user").scenarios.add("version_needs_bearer")
    path = f"{VERSION}?ft_token=u_demo_user"
    assert (await member.request("GET", path)).status == 401
    assert (await member.request("GET", path, headers=bearer(member.access))).raw == b'"1"'


async def test_the_full_form_needs_the_token_and_inserts_text(member: EmulatorClient) -> None:
    reply = await completed(member, "x = ", "\n")
    assert reply.status == 200
    assert reply.json == {
        "generated_text": "completed()",
        "ex_msg": "",
        "delta_char": 0,
        "delta_line": 0,
        "server_request_id": "1760000000.1234567.000001",
    }
    member.access = "forged"
    assert (await completed(member, "x = ")).status == 401


@pytest.mark.parametrize("token", ["", "forged"])
@pytest.mark.parametrize(
    "path",
    [
        "/codeapi/completion2_2/generate_one_stage_auth/u_demo_user",
        "/codeapi/completion/other/u_demo_user",
    ],
)
async def test_a_path_that_is_not_there_is_a_404_with_any_token(
    client: EmulatorClient, path: str, token: str
) -> None:
    client.access = token
    assert (await completed(client, "x", path=path)).status == 404


@pytest.mark.parametrize("token", ["FT_demo_user", "u_demo_user", "/FT_demo_user"])
async def test_the_simple_form_takes_the_token_of_the_path(
    client: EmulatorClient, token: str
) -> None:
    path = f"{SIMPLE}{token}?ide=vim&v=0.2.1"
    reply = await client.request("POST", path, json=simple_inputs("a", "b"))
    assert reply.status == 200
    assert reply.json["generated_text"] == "completed()<|endoftext|>"
    assert set(reply.json) == {
        "generated_text",
        "server_request_id",
        "delta_char",
        "delta_line",
        "ex_msg",
    }


@pytest.mark.parametrize("path", [f"{SIMPLE}FT_nobody", f"{ACCEPT}FT_nobody"])
async def test_an_unknown_token_in_the_path_is_a_401(client: EmulatorClient, path: str) -> None:
    body = {**simple_inputs("a"), "request_id": "1"}
    reply = await client.request("POST", path, json=body, headers=bearer("forged"))
    assert reply.status == 401
    assert reply.json["detail"] == "Invalid token: Signature verification failed."


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ({}, 422, b"field required"),
        ({"inputs": "!FCPREFIX!a!FCMIDDLE!"}, 200, b'{"error": '),
        (simple_inputs("[[complete text=]]"), 200, b'"generated_text": "<|endoftext|>"'),
        (simple_inputs("[[complete text=a%3C%7Cendoftext%7C%3Eb]]"), 200, b'"a<|endoftext|>b<|'),
        (simple_inputs("[[complete status=503]]"), 503, b"failed"),
    ],
)
async def test_each_simple_request_has_its_status_and_answer(
    client: EmulatorClient, body: dict[str, Any], status: int, answer: bytes
) -> None:
    reply = await client.request("POST", f"{SIMPLE}FT_demo_user", json=body)
    assert reply.status == status
    assert answer in reply.raw


async def test_a_banned_account_gets_no_simple_completion(
    emu: Emulator, client: EmulatorClient
) -> None:
    emu.account("demo_user").scenarios.add("banned")
    reply = await client.request("POST", f"{SIMPLE}FT_demo_user", json=simple_inputs("a"))
    assert reply.status == 403


async def test_accept_needs_no_bearer_and_an_id_of_the_suggestion(client: EmulatorClient) -> None:
    body = {"request_id": "1760000000.1234567.000001"}
    reply = await client.request("POST", f"{ACCEPT}u_demo_user", json=body)
    assert (reply.status, reply.json) == (200, {})
    assert (await client.request("POST", f"{ACCEPT}u_demo_user", json={})).status == 422


async def test_edit_mode_answers_with_lines_to_replace(member: EmulatorClient) -> None:
    reply = await completed(member, "# 你好\nx = ", "1\ny\n", edit_mode="true")
    assert reply.status == 200
    assert reply.json == {
        "generated_text": "x = completed()1",
        "delete_offsets": [],
        "insert_offsets": [[4, 15]],
        "ori_start_line": 0,
        "ori_end_line": 0,
        "res_start_line": 0,
        "res_end_line": 0,
        "server_request_id": "1760000000.1234567.000001",
    }
    nothing = await completed(member, "[[complete text=]]", edit_mode="true")
    assert (nothing.json["delete_offsets"], nothing.json["insert_offsets"]) == ([], [])
    failed = await completed(member, "[[complete error=full]]", edit_mode="true")
    assert failed.json == {"error": "full"}
