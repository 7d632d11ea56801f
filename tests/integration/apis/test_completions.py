"""Code completion through the HTTP API: every route, the upstream's form, its faults."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from emulator import EmulatedAccount, Emulator
from tests.conftest import StartGateway
from tests.support import Gateway, content, frames, running_gateway, without_limits
from tests.waiting import LONGEST_WAIT, NEVER, eventually

COMPLETIONS = "/v1/completions"


def marker(**wanted: Any) -> str:
    words = " ".join(f"{name}={quote(str(value), safe='')}" for name, value in wanted.items())
    return f"[[complete {words}]]"


def post(gateway: Gateway, path: str = COMPLETIONS, **body: Any) -> Any:
    return gateway.http.post(gateway.url + path, json=body)


async def whole(gateway: Gateway, path: str = COMPLETIONS, **body: Any) -> Any:
    async with post(gateway, path, **body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer


async def refused(gateway: Gateway, path: str = COMPLETIONS, **body: Any) -> tuple[int, Any]:
    async with post(gateway, path, **body) as response:
        return response.status, (await response.json())["error"]


def metas(emulator: Emulator) -> list[dict[str, Any]]:
    """Return the metadata that the upstream got, call by call."""
    return [call.body["meta_datas"] for call in emulator.calls_to("/codeapi/completion")]


def qwen(prefix: str, suffix: str = "", file: str = "demo.py") -> str:
    return f"<|file_sep|>{file}\n<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>"


async def test_a_prompt_and_a_suffix_are_the_two_sides_of_the_cursor(
    gateway: Gateway, emulator: Emulator
) -> None:
    answer = await whole(gateway, prompt="# 你好😀\nx = ", suffix="\ny = 2\n", model="any-name")
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["model"] == "any-name"
    (choice,) = answer["choices"]
    assert choice == {"text": "completed()", "index": 0, "logprobs": None, "finish_reason": "stop"}
    assert answer["usage"]["completion_tokens"] > 0
    (meta,) = metas(emulator)
    assert meta["diff"] == "# 你好😀\nx = \ny = 2\n"
    assert (meta["cpos"], meta["bcpos"]) == (11, 17)


@pytest.mark.parametrize(
    "path", [COMPLETIONS, "/completions", "/v1/v1/completions/", "/beta/completions"]
)
async def test_completions_are_answered_at_every_route(gateway: Gateway, path: str) -> None:
    assert (await whole(gateway, path, prompt="x"))["choices"][0]["text"] == "completed()"


async def test_a_stream_has_the_text_the_reason_the_usage_and_the_end(gateway: Gateway) -> None:
    options = {"include_usage": True}
    async with post(gateway, prompt="x", stream=True, stream_options=options) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        text, last, usage, done = frames(await response.read())
    assert text["choices"][0] == {
        "text": "completed()",
        "index": 0,
        "logprobs": None,
        "finish_reason": None,
    }
    assert text["object"] == "text_completion"
    assert text["usage"] is None
    assert (last["choices"][0]["text"], last["choices"][0]["finish_reason"]) == ("", "stop")
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] > 0
    assert done == "[DONE]"


async def test_a_template_is_found_by_its_markers_whatever_the_model_is_called(
    gateway: Gateway, emulator: Emulator
) -> None:
    await whole(gateway, prompt=qwen("a = ", "\n", "src/a.py"), model="codestral-latest")
    (meta,) = metas(emulator)
    assert (meta["filename"], meta["diff"]) == ("src/a.py", "a = \n")


TWINNY = "/* Language: TypeScript (typescript) */\n/* File uri: file:///w/app.ts (typescript) */\n"


@pytest.mark.parametrize(
    "front", [" \n", f" \n\n{TWINNY}", f"/*// helper.ts\nhelp()\n*/ \n\n{TWINNY}"]
)
async def test_the_templates_of_twinny_give_the_gap_alone(
    gateway: Gateway, emulator: Emulator, front: str
) -> None:
    """The emulator wants to replace the bracket: only with the right suffix is there a text."""
    before = "call(" + marker(text="a, b)", delta_char=1)
    answer = await whole(gateway, prompt=f"<PRE>{front}{before} <SUF> )\nend <MID>")
    assert answer["choices"][0]["text"] == "a, b"
    (meta,) = metas(emulator)
    assert meta["diff"] == before + ")\nend"
    assert meta["cpos"] == len(before)
    assert (meta["filename"] == "/w/app.ts") == (TWINNY in front)


async def test_other_files_of_a_repository_are_left_out(
    gateway: Gateway, emulator: Emulator
) -> None:
    front = "<|repo_name|>demo\n<|file_sep|>other.py\nx = 1\n"
    await whole(gateway, prompt=front + qwen("a = ", "\n", "src/a.py"))
    await whole(gateway, prompt=front + "<|file_sep|>src/b.py\nb = ")
    await whole(gateway, "/v1/fim/completions", prompt="+++++ o.py\n\n+++++ c.py\nc", suffix="\n")
    sent = [(meta["filename"], meta["diff"]) for meta in metas(emulator)]
    assert sent == [("src/a.py", "a = \n"), ("src/b.py", "b = "), ("c.py", "c\n")]


async def test_markers_in_the_users_code_neither_move_the_gap_nor_end_the_answer(
    gateway: Gateway,
) -> None:
    before = 'TEMPLATE = f"<fim_prefix>{p}<fim_suffix>{s}<fim_middle>"\nf(' + marker(
        text='"<fim_suffix>")', delta_char=1
    )
    prompt = f"<fim_prefix>{before}<fim_suffix>)\n<fim_middle>"
    assert (await whole(gateway, prompt=prompt))["choices"][0]["text"] == '"<fim_suffix>"'


async def test_a_list_of_prompts_gives_a_list_of_choices(gateway: Gateway) -> None:
    prompts = [marker(text="one"), marker(text="two"), marker(text="")]
    answer = await whole(gateway, prompt=prompts)
    assert [(c["index"], c["text"]) for c in answer["choices"]] == [(0, "one"), (1, "two"), (2, "")]
    async with post(gateway, prompt=prompts, stream=True) as response:
        parsed = frames(await response.read())
    got = ["", "", ""]
    for frame in parsed[:-1]:
        got[frame["choices"][0]["index"]] += frame["choices"][0]["text"]
    assert got == ["one", "two", ""]
    reasons = [f["choices"][0]["index"] for f in parsed[:-1] if f["choices"][0]["finish_reason"]]
    assert reasons == [0, 1, 2]


async def test_stop_max_tokens_and_echo(gateway: Gateway) -> None:
    prompt = marker(text="first line\nsecond")
    answer = await whole(gateway, prompt=prompt, stop=["\n"])
    assert answer["choices"][0]["text"] == "first line"
    answer = await whole(gateway, prompt=prompt, max_tokens=1)
    assert answer["choices"][0]["text"] == "firs"
    assert answer["choices"][0]["finish_reason"] == "length"
    answer = await whole(gateway, prompt=prompt, echo=True)
    assert answer["choices"][0]["text"] == prompt + "first line\nsecond"


async def test_a_model_that_writes_the_templates_own_marker_has_come_to_its_end(
    gateway: Gateway,
) -> None:
    text = marker(text="good<|fim_prefix|>bad")
    answer = await whole(gateway, prompt=f"<|fim_prefix|>{text}<|fim_suffix|><|fim_middle|>")
    assert answer["choices"][0]["text"] == "good"


async def test_mistrals_route_answers_in_the_shape_of_a_chat(gateway: Gateway) -> None:
    body = {"prompt": "x = ", "suffix": "\n", "model": "codestral-latest"}
    answer = await whole(gateway, "/v1/fim/completions", **body)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "completed()"
    async with post(gateway, "/v1/fim/completions", stream=True, **body) as response:
        parsed = frames(await response.read())
    assert content(parsed) == "completed()"
    assert all(len(frame["choices"]) == 1 for frame in parsed[:-1])


async def test_infill_is_llama_cpps(gateway: Gateway, emulator: Emulator) -> None:
    body = {
        "input_prefix": "def f():\n",
        "input_suffix": "\n",
        "input_extra": [{"filename": "other.py", "text": "x = 1"}],
        "prompt": "    ret",
        "n_predict": 64,
        "top_k": 40,
        "t_max_predict_ms": 500,
    }
    answer = await whole(gateway, "/infill", **body, stream=False)
    assert (answer["content"], answer["stop"]) == ("completed()", True)
    assert answer["tokens_predicted"] > 0
    assert metas(emulator)[0]["diff"] == "def f():\n    ret\n"
    async with post(gateway, "/infill", **body, stream=True) as response:
        raw = await response.read()
    parsed = [json.loads(line[6:]) for line in raw.decode().split("\n\n") if line]
    assert "".join(frame["content"] for frame in parsed) == "completed()"
    assert [frame["stop"] for frame in parsed] == [False, True]


@pytest.mark.parametrize("extra", [None, "text", 1, [1], [{"filename": 1}], {"a": []}])
async def test_other_files_of_infill_are_left_out_whatever_they_are(
    gateway: Gateway, emulator: Emulator, extra: Any
) -> None:
    body = {"input_prefix": "a(", "input_suffix": None, "prompt": None, "input_extra": extra}
    assert (await whole(gateway, "/infill", **body))["content"] == "completed()"
    assert metas(emulator)[0]["diff"] == "a("


async def test_a_warm_up_is_answered_without_the_upstream(
    gateway: Gateway, emulator: Emulator
) -> None:
    answer = await whole(gateway, "/infill", input_prefix="x", n_predict=0)
    assert answer["content"] == ""
    assert answer["tokens_predicted"] == answer["tokens_evaluated"] == 0
    assert not emulator.calls_to("/codeapi/completion")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "prompt", "missing_required_parameter"),
        ({"prompt": [1, 2, 3]}, "prompt", "unsupported_value"),
        ({"prompt": [[1], [2]]}, "prompt", "unsupported_value"),
        ({"prompt": []}, "prompt", "unsupported_value"),
        ({"prompt": ["x"] * 17}, "prompt", "unsupported_value"),
        ({"prompt": "x", "n": 2}, "n", "unsupported_value"),
        ({"prompt": "x", "best_of": 3}, "best_of", "unsupported_value"),
        ({"prompt": "x", "max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"prompt": "x", "suffix": 1}, "suffix", "invalid_type"),
        ({"prompt": "x", "stop": [str(i) for i in range(65)]}, "stop", "unsupported_value"),
    ],
)
async def test_a_wrong_body_is_refused_by_the_name_of_the_field(
    gateway: Gateway, body: dict[str, Any], param: str, code: str
) -> None:
    status, error = await refused(gateway, **body)
    assert (status, error["param"], error["code"]) == (400, param, code)


async def test_only_the_difference_of_a_file_is_sent_once_the_upstream_has_it(
    gateway: Gateway, emulator: Emulator
) -> None:
    await whole(gateway, prompt=qwen("a = 1\nb = ", "\nc = 3\n"))
    await whole(gateway, prompt=qwen("a = 1\nb = 2", "\nc = 3\n"))
    await whole(gateway, prompt=qwen("a = 1\nb = 2", "\nc = 3\n", "another.py"))
    first, second, third = metas(emulator)
    assert first["pmd5"] == third["pmd5"] == ""
    assert (second["diff"], second["pmd5"]) == ("2", first["nmd5"])


async def test_a_text_the_upstream_no_longer_knows_is_sent_whole_again(
    gateway: Gateway, emulator: Emulator
) -> None:
    await whole(gateway, prompt=qwen("a"))
    emulator.forget_texts()
    answer = await whole(gateway, prompt=qwen("ab"))
    assert answer["choices"][0]["text"] == "completed()"
    _, refused_one, repeated = metas(emulator)
    assert refused_one["pmd5"]
    assert (repeated["pmd5"], repeated["diff"]) == ("", "ab")


async def test_a_file_that_has_grown_over_the_limit_is_sent_as_a_whole_part(
    gateway: Gateway, emulator: Emulator
) -> None:
    await whole(gateway, prompt=qwen("a" * 1000))
    await whole(gateway, prompt=qwen("a" * 230_000))
    assert [meta["pmd5"] for meta in metas(emulator)] == ["", ""]


async def test_when_the_service_is_down_a_difference_is_not_repeated(
    gateway: Gateway, emulator: Emulator
) -> None:
    await whole(gateway, prompt=qwen("a"))
    status, _ = await refused(gateway, prompt=qwen("a" + marker(status=503)))
    assert status == 502
    assert len(metas(emulator)) == 2


async def test_after_two_at_once_the_whole_text_is_sent(
    gateway: Gateway, emulator: Emulator
) -> None:
    older = asyncio.create_task(refused(gateway, prompt=qwen(marker(delay=5))))
    await eventually(lambda: emulator.calls_to("/codeapi/completion"))
    await whole(gateway, prompt=qwen("a"))
    await older
    await whole(gateway, prompt=qwen("ab"))
    assert metas(emulator)[-1]["pmd5"] == ""


async def test_a_version_that_changed_is_asked_for_again(
    gateway: Gateway, emulator: Emulator
) -> None:
    await whole(gateway, prompt="x")
    emulator.change_completion_version("2")
    status, _ = await refused(gateway, prompt="x")
    assert status == 502
    assert (await whole(gateway, prompt="x"))["choices"][0]["text"] == "completed()"


async def test_after_a_failure_the_whole_text_is_sent(gateway: Gateway, emulator: Emulator) -> None:
    await whole(gateway, prompt=qwen("a"))
    status, _ = await refused(gateway, prompt=qwen("a" + marker(status=503)))
    assert status == 502
    await whole(gateway, prompt=qwen("ab"))
    assert metas(emulator)[-1]["pmd5"] == ""


async def test_another_keys_file_of_the_same_name_is_another_text(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    keys = [{"name": name, "key": f"{name}-0123456789"} for name in ("alice", "bob")]
    gateway = await start_gateway(middlewares=[{"api_key": {"keys": keys}}])
    for name in ("alice", "bob", "alice"):
        headers = {"Authorization": f"Bearer {name}-0123456789"}
        body = {"prompt": qwen("a")}
        url = gateway.url + COMPLETIONS
        async with gateway.http.post(url, json=body, headers=headers) as response:
            assert response.status == 200
    assert [meta["pmd5"] for meta in metas(emulator)] == ["", "", ""]


async def test_differences_can_be_turned_off(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(fitten={"completion": {"diff": False}})
    for _ in range(2):
        await whole(gateway, prompt=qwen("a"))
    assert [meta["pmd5"] for meta in metas(emulator)] == ["", ""]


async def test_the_version_is_asked_once_however_many_ask(
    gateway: Gateway, emulator: Emulator
) -> None:
    await asyncio.gather(*(whole(gateway, prompt=f"x{i}") for i in range(5)))
    assert len(emulator.calls_to("/codeuser/get_completion_version")) == 1


@pytest.mark.parametrize("scenarios", [set(), {"version_needs_bearer"}])
async def test_the_version_is_found_whether_or_not_it_needs_a_token(
    gateway: Gateway, emulator: Emulator, scenarios: set[str]
) -> None:
    emulator.account("demo_user").scenarios.update(scenarios)
    assert (await whole(gateway, prompt="x"))["choices"][0]["text"] == "completed()"
    (call,) = emulator.calls_to("/codeuser/get_completion_version")
    assert (call.status, call.query) == (200, {"ft_token": "u_demo_user"})


async def test_a_version_refused_for_an_old_token_is_asked_for_with_a_new_one(
    gateway: Gateway, emulator: Emulator
) -> None:
    await gateway.stream("Hi")  # logs in
    account = emulator.account("demo_user")
    account.scenarios.add("version_needs_bearer")
    account.revoke_access()
    assert (await whole(gateway, prompt="x"))["choices"][0]["text"] == "completed()"
    versions = emulator.calls_to("/codeuser/get_completion_version")
    assert [call.status for call in versions] == [401, 200]


@pytest.mark.parametrize("version", ["0", "2", "3"])
async def test_every_version_has_its_path(
    start_gateway: StartGateway, tmp_path: Path, version: str
) -> None:
    async with (
        Emulator(completion_version=version) as emulator,
        running_gateway(emulator.url, tmp_path) as gateway,
    ):
        assert (await whole(gateway, prompt="x"))["choices"][0]["text"] == "completed()"


async def test_a_version_that_is_not_known_is_an_error_that_says_so(tmp_path: Path) -> None:
    async with (
        Emulator(completion_version="9") as emulator,
        running_gateway(emulator.url, tmp_path) as gateway,
    ):
        status, error = await refused(gateway, prompt="x")
    assert (status, error["code"]) == (502, "upstream_invalid_response")


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"error": "made up"}, 502, "upstream_error"),
        ({"status": 500}, 502, "upstream_error"),
        ({"status": 429}, 429, "upstream_rate_limited"),
        ({"status": 403}, 502, "upstream_error"),
        ({"raw": "<html>"}, 502, "upstream_invalid_response"),
        ({"raw": "[]"}, 502, "upstream_invalid_response"),
        ({"raw": '{"generated_text": 1}'}, 502, "upstream_invalid_response"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_of_the_upstream_is_a_status_and_never_an_empty_completion(
    gateway: Gateway, wanted: dict[str, Any], status: int, code: str, stream: bool
) -> None:
    got, error = await refused(gateway, prompt=marker(**wanted), stream=stream)
    assert (got, error["code"]) == (status, code)


async def test_a_refused_token_costs_one_refresh_and_one_repeat(
    gateway: Gateway, emulator: Emulator
) -> None:
    await whole(gateway, prompt="x")
    emulator.clock.advance(2 * 86400)
    assert (await whole(gateway, prompt="y"))["choices"][0]["text"] == "completed()"


async def test_a_slow_completion_is_given_up(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(fitten={"completion": {"timeout": 0.1}})
    status, error = await refused(gateway, prompt=marker(delay=NEVER))
    assert (status, error["code"]) == (504, "upstream_timeout")


async def test_a_dropped_completion_is_cancelled_upstream_at_once(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    """No limit of its own ends the call."""
    gateway = await start_gateway(**without_limits())
    asking = asyncio.create_task(whole(gateway, prompt=qwen(marker(delay=NEVER))))
    await eventually(lambda: emulator.calls_to("/codeapi/completion"))
    asking.cancel()
    (call,) = emulator.calls_to("/codeapi/completion")
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)


async def test_a_newer_completion_of_the_same_key_and_file_supersedes_the_older(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(**without_limits())
    older = asyncio.create_task(refused(gateway, prompt=qwen(marker(delay=NEVER))))
    other = asyncio.create_task(whole(gateway, prompt=qwen(marker(delay=NEVER), file="other.py")))
    await eventually(lambda: len(emulator.calls_to("/codeapi/completion")) == 2)
    assert (await whole(gateway, prompt=qwen("x")))["choices"][0]["text"] == "completed()"
    status, error = await asyncio.wait_for(older, LONGEST_WAIT)
    assert (status, error["code"]) == (409, "superseded")
    calls = emulator.calls_to("/codeapi/completion")
    slow = next(c for c in calls if c.body["meta_datas"]["filename"] == "demo.py")
    await asyncio.wait_for(slow.closed.wait(), LONGEST_WAIT)
    emulator.release()
    assert (await other)["choices"][0]["text"] == "completed()"


async def test_completions_of_unnamed_files_do_not_disturb_each_other(gateway: Gateway) -> None:
    answers = await asyncio.gather(
        *(whole(gateway, prompt=marker(text=f"t{i}", delay=0.1)) for i in range(3))
    )
    assert [answer["choices"][0]["text"] for answer in answers] == ["t0", "t1", "t2"]


async def test_a_completion_is_logged_like_a_chat(gateway: Gateway, log_events: list[Any]) -> None:
    await whole(gateway, prompt="x")
    (line,) = [event for event in log_events if event["event"] == "request"]
    assert line["route"] == COMPLETIONS
    assert (line["end"], line["finish_reason"], line["tokens_estimated"]) == (
        "complete",
        "stop",
        True,
    )


async def test_a_replacement_that_ends_with_what_it_replaces_is_an_insertion(
    gateway: Gateway,
) -> None:
    body = {"prompt": f"print(f({marker(text='a, b)', delta_char=1)}", "suffix": ")\n"}
    assert (await whole(gateway, **body))["choices"][0]["text"] == "a, b"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("suggestion", "suffix", "text"),
    [
        ("a, b)", ")\n", "a, b"),
        ("g(x)", ")\n", "g(x)"),
        ("x)\nnext_line()\nlast()", "\nnext_line()\nlast()\n", "x)"),
        ("x)<|im_end|>", "\n", "x)"),
        ("x) <EOT>", "\n", "x)"),
        ("x)<file_sep>other.py\ny", "\n", "x)"),
        ("'<|im_end|>')", "\n", "'<|im_end|>')"),
    ],
)
async def test_a_suggestion_ends_before_what_follows_the_cursor_and_before_an_end_token(
    gateway: Gateway, suggestion: str, suffix: str, text: str, stream: bool
) -> None:
    prompt = f"# {marker(text=suggestion)}\nf("
    async with post(gateway, prompt=prompt, suffix=suffix, stream=stream) as response:
        raw = await response.read()
    parsed = frames(raw)[:-1] if stream else [json.loads(raw)]
    assert "".join(frame["choices"][0]["text"] for frame in parsed) == text
    answer = await whole(gateway, "/infill", input_prefix=prompt, input_suffix=suffix)
    assert answer["content"] == text


async def test_the_next_file_ends_an_answer(gateway: Gateway) -> None:
    before = marker(text="a<filename>other.kt")
    prompt = f"<filename>a.kt\n<fim_suffix>\n<fim_prefix>{before}<fim_middle>"
    assert (await whole(gateway, prompt=prompt))["choices"][0]["text"] == "a"


async def test_a_completion_without_an_account_says_so(tmp_path: Path) -> None:
    async with (
        Emulator(accounts=[EmulatedAccount("demo_user", "another")]) as emulator,
        running_gateway(emulator.url, tmp_path) as gateway,
    ):
        status, error = await refused(gateway, prompt="x")
    assert (status, error["code"]) == (503, "no_account_available")


async def test_a_broken_connection_is_no_completion(tmp_path: Path) -> None:
    async with Emulator() as emulator, running_gateway(emulator.url, tmp_path) as gateway:
        await whole(gateway, prompt="x")
        await emulator.stop()
        async with post(gateway, prompt="x") as response:
            assert response.status == 502
