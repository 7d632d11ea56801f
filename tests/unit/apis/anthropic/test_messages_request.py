"""The body of a Messages request: what clients send comes through, or has a name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apis.anthropic.messages_request import Messages
from gateway.errors import InvalidRequest, NotFound
from gateway.generation.request import (
    GenerationRequest,
    Image,
    Message,
    RemoteImage,
    Tool,
    ToolCall,
    ToolChoice,
)
from tests.images import data_url, png

IMAGE = data_url(png()).partition(",")[2]
PNG = Image("image/png", IMAGE)
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}}
READ = {"name": "Read", "description": "Reads a file.", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
USER = {"role": "user", "content": "hi"}


def parse(*messages: Any, **members: Any) -> GenerationRequest:
    body = {"messages": list(messages) or [USER], **members}
    return Messages().parse(json.dumps(body).encode())


def refused(*messages: Any, **members: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as failure:
        parse(*messages, **members)
    assert failure.value.status == 400
    return failure.value


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def use(id: str, name: str = "Read", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": {}, **more}


def result(id: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, **more}


def base64(data: str = IMAGE, media_type: str = "image/png") -> dict[str, Any]:
    source = {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "image", "source": source}


@pytest.mark.parametrize(
    ("system", "texts"),
    [
        (None, []),
        ("", []),
        ("Be short.", ["Be short."]),
        ([], []),
        ([text("Be short."), text("Be kind.")], ["Be short.\n\nBe kind."]),
        (
            [
                text("x-anthropic-billing-header: cc_version=1; cch=0;"),
                text("Be short.", cache_control={"type": "ephemeral"}),
            ],
            ["Be short."],
        ),
        ([text("x-anthropic-billing-header: a")], []),
        ("About x-anthropic-billing-header: a", ["About x-anthropic-billing-header: a"]),
    ],
)
def test_the_system_prompt_is_text_without_the_block_for_accounting(
    system: Any, texts: list[str]
) -> None:
    wanted = [Message("system", text) for text in texts]
    assert list(parse(system=system).messages) == [*wanted, Message("user", "hi")]


def test_a_remark_of_the_system_stays_in_its_place() -> None:
    parsed = parse(
        user(text("one"), text("two")),
        {"role": "system", "content": "Agents: none."},
        {"role": "system", "content": [text("Skills: none.")]},
        assistant(text("three")),
        USER,
        system="Be short.",
    )
    assert [(message.role, message.text) for message in parsed.messages] == [
        ("system", "Be short."),
        ("user", "one\ntwo"),
        ("system", "Agents: none."),
        ("system", "Skills: none."),
        ("assistant", "three"),
        ("user", "hi"),
    ]


def test_images_are_bytes_or_addresses() -> None:
    remote = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    (message,) = parse(user(base64(media_type="image/jpeg"), text("what?"), remote)).messages
    param = "messages[0].content[2].source.url"
    assert message.images == (PNG, RemoteImage("https://example.org/a.png", param))
    assert message.text == "what?"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ({"content": "done"}, Message("tool", "done", "t1")),
        ({"content": [text("a"), text("b")]}, Message("tool", "a\nb", "t1")),
        ({"content": ["a"]}, Message("tool", "a", "t1")),
        ({"content": [base64()]}, Message("tool", "", "t1", images=(PNG,))),
        ({"content": [text("see"), base64()]}, Message("tool", "see", "t1", images=(PNG,))),
        ({"content": []}, Message("tool", "", "t1")),
        ({"content": None}, Message("tool", "", "t1")),
        ({}, Message("tool", "", "t1")),
        ({"content": "no", "is_error": True}, Message("tool", "no", "t1", failed=True)),
        ({"content": "ok", "is_error": False}, Message("tool", "ok", "t1")),
        ({"content": "ok", "cache_control": {"type": "ephemeral"}}, Message("tool", "ok", "t1")),
    ],
    ids=str,
)
def test_a_result_has_any_shape(content: dict[str, Any], shown: Message) -> None:
    parsed = parse(USER, assistant(use("t1")), user(result("t1", **content)))
    assert parsed.messages[1:] == (
        Message("assistant", "", calls=(ToolCall("t1", "Read", "{}"),)),
        shown,
    )


def test_results_come_before_the_text_beside_them() -> None:
    parsed = parse(
        USER,
        assistant(text("Two."), use("t1", input={"path": "a"}), use("t2", "Run")),
        user(result("t2", content="2"), text("and now?"), result("t1", content="1")),
    )
    assert parsed.messages[1:] == (
        Message(
            "assistant",
            "Two.",
            calls=(ToolCall("t1", "Read", '{"path": "a"}'), ToolCall("t2", "Run", "{}")),
        ),
        Message("tool", "2", "t2"),
        Message("tool", "1", "t1"),
        Message("user", "and now?"),
    )


def test_a_result_without_its_call_is_kept() -> None:
    assert parse(user(result("gone", content="42"))).messages == (Message("tool", "42", "gone"),)


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"path": "a"}, '{"path": "a"}'),
        (None, ""),
        ('{"path": "a"}', '{"path": "a"}'),
        ({"__unparsedToolInput": {"raw": '{"path": "a"}}', "len": 14}}, '{"path": "a"}}'),
        ({"__unparsedToolInput": '{"path"'}, '{"path"'),
        ({"__unparsedToolInput": {"path": 4}}, '{"path": 4}'),
        ({"__unparsedToolInput": "x", "path": "a"}, '{"__unparsedToolInput": "x", "path": "a"}'),
    ],
    ids=str,
)
def test_the_input_of_a_call_is_what_the_model_wrote(given: Any, arguments: str) -> None:
    (message,) = parse(assistant(use("t1", input=given))).messages
    assert message.calls == (ToolCall("t1", "Read", arguments),)


def test_thoughts_of_earlier_answers_are_left_out() -> None:
    thoughts = [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "redacted_thinking", "data": "abc"},
    ]
    (message,) = parse(assistant(*thoughts, text("Hello"))).messages
    assert message == Message("assistant", "Hello")


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ({"type": "document", "source": {"type": "text", "data": "a"}}, ".type"),
        ({"type": "server_tool_use", "id": "s", "name": "web_search"}, ".type"),
        ({"type": "unheard_of"}, ".type"),
        (use("t1"), ".type"),
        ({"type": "text"}, ".text"),
        ({"type": "text", "text": 5}, ".text"),
        ({"type": "image"}, ".source"),
        ({"type": "image", "source": {"type": "base64"}}, ".source.data"),
        ({"type": "image", "source": {"type": "url"}}, ".source.url"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, ".source.type"),
        (base64("bm90aGluZw=="), ".source.data"),
        (result("t1", content=[{"type": "document"}]), ".content[0].type"),
        (result("t1", content=[result("t2")]), ".content[0].type"),
        (result("t1", content=7), ".content"),
    ],
    ids=str,
)
def test_a_block_that_cannot_be_read_is_named(block: Any, path: str) -> None:
    assert refused(USER, user(text("a"), block)).param == f"messages[1].content[1]{path}"


@pytest.mark.parametrize(
    ("messages", "members", "param"),
    [
        ([{"role": "tool", "content": "a"}], {}, "messages[0].role"),
        ([{"content": "a"}], {}, "messages[0].role"),
        ([assistant(result("t1"))], {}, "messages[0].content[0].type"),
        ([assistant({"type": "tool_use", "id": "a"})], {}, "messages[0].content[0].name"),
        ([], {"messages": []}, "messages"),
        ([], {"system": [base64()]}, "system[0].type"),
        ([], {"mcp_servers": [{"type": "url", "url": "https://example.org"}]}, "mcp_servers"),
        ([], {"thread": {"type": "create"}}, "thread"),
        ([], {"thread": {"type": "something_new"}}, "thread"),
        ([], {"max_tokens": 1.5}, "max_tokens"),
        ([], {"stop_sequences": ["x" * 2000]}, "stop_sequences"),
        ([], {"stop_sequences": "x"}, "stop_sequences"),
        ([], {"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ([], {"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ([], {"tools": [SEARCH, {"name": "a b", "input_schema": {}}]}, "tools[1].name"),
        ([], {"tools": [SEARCH, READ, {**READ, "description": ""}]}, "tools[2].name"),
        ([], {"tool_choice": {"type": "any"}}, "tool_choice"),
        ([], {"tools": [READ], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        (
            [],
            {"tools": [READ], "tool_choice": {"type": "tool", "name": "Write"}},
            "tool_choice.name",
        ),
        ([], {"tools": [READ], "tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ([], {"thinking": {"type": "perhaps"}}, "thinking.type"),
        ([], {"output_config": {"format": {"type": "regex"}}}, "output_config.format.type"),
        ([], {"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
)
def test_what_would_change_the_answer_is_refused(
    messages: list[Any], members: dict[str, Any], param: str
) -> None:
    assert refused(*messages, **members).param == param


def test_a_thread_that_is_continued_is_not_found() -> None:
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    with pytest.raises(NotFound) as failure:
        parse(thread=thread)
    assert (failure.value.status, failure.value.param) == (404, "thread.previous_message_id")


def test_what_would_not_change_the_answer_is_ignored() -> None:
    parsed = parse(
        metadata={"user_id": "{}"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"effort": "high"},
        cache_control={"type": "ephemeral"},
        mcp_servers=[],
        thread=None,
        temperature=0.5,
        something_new={"a": 1},
    )
    assert parsed.messages == (Message("user", "hi"),)
    assert parsed.ignored == ("temperature", "something_new")
    assert parsed.response_format is None


def test_tools_have_their_schema_and_others_are_named_to_the_model() -> None:
    tools = [READ, SEARCH, {"type": "bash_20250124", "name": "bash"}, {**READ, "type": "custom"}]
    parsed = parse(tools=tools, system="Be short.")
    assert parsed.tools == (Tool("Read", "Reads a file.", SCHEMA),)
    assert [message.role for message in parsed.messages] == ["system", "system", "user"]
    assert "web_search, bash" in parsed.messages[1].text
    assert parsed.messages[1].text.count(".") == 1


@pytest.mark.parametrize(
    ("choice", "wanted", "parallel"),
    [
        (None, ToolChoice(), True),
        ({"type": "auto"}, ToolChoice(), True),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(), False),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice("required"), True),
        ({"type": "tool", "name": "Read"}, ToolChoice("named", "Read"), True),
        ({"type": "tool", "name": "web_search"}, ToolChoice(), True),
        ({"type": "none"}, ToolChoice("none"), True),
    ],
)
def test_the_choice_of_tools(choice: Any, wanted: ToolChoice, parallel: bool) -> None:
    parsed = parse(tools=[READ, SEARCH], tool_choice=choice)
    assert (parsed.tool_choice, parsed.parallel_tool_calls) == (wanted, parallel)


def test_a_choice_that_only_a_missing_tool_could_meet_is_left_to_the_model() -> None:
    assert parse(tools=[SEARCH], tool_choice={"type": "any"}).tool_choice == ToolChoice()


@pytest.mark.parametrize(
    ("thinking", "wanted"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "adaptive"}, True),
        ({"type": "enabled", "budget_tokens": 31_999}, True),
        ({"type": "adaptive", "display": "summarized"}, True),
        ({"type": "adaptive", "display": "omitted"}, False),
    ],
)
def test_thoughts_are_wanted_only_when_asked_for(thinking: Any, wanted: bool) -> None:
    assert parse(thinking=thinking).reasoning is wanted


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_the_form_of_the_answer(name: str) -> None:
    wanted = {"type": "json_schema", "schema": SCHEMA}
    given = {"format": wanted, "effort": "low"} if name == "output_config" else wanted
    parsed = parse(**{name: given}).response_format
    assert parsed is not None
    assert parsed.schema == SCHEMA


@pytest.mark.parametrize(
    ("given", "limit"), [(None, None), (0, None), (-1, None), (1, 1), (32_000, 32_000), (8.0, 8)]
)
def test_the_limit_of_tokens_is_optional(given: Any, limit: int | None) -> None:
    assert parse(max_tokens=given).max_tokens == limit


def test_stop_sequences_and_stream() -> None:
    parsed = parse(stop_sequences=["a", "", "b", "a"], stream=True, model="m")
    assert (parsed.stop, parsed.stream, parsed.model) == (("a", "b"), True, "m")


WORDS = st.text("abc", min_size=1, max_size=3)
IDS = st.sampled_from(["t1", "t2", "t3"])
RESULT_CONTENT = st.none() | WORDS | st.lists(WORDS.map(text) | st.just(base64()), max_size=2)
THOUGHTS = WORDS.map(lambda said: {"type": "thinking", "thinking": said, "signature": ""})
USER_BLOCKS = st.one_of(
    WORDS.map(text),
    st.just(base64()),
    st.builds(lambda id, content: result(id, content=content), IDS, RESULT_CONTENT),
)
ASSISTANT_BLOCKS = st.one_of(
    WORDS.map(text), THOUGHTS, st.builds(lambda id, said: use(id, input={"a": said}), IDS, WORDS)
)
MESSAGES = st.one_of(
    st.lists(USER_BLOCKS, max_size=4).map(lambda blocks: user(*blocks)),
    st.lists(ASSISTANT_BLOCKS, max_size=4).map(lambda blocks: assistant(*blocks)),
    WORDS.map(lambda said: {"role": "system", "content": said}),
)


@given(st.lists(MESSAGES, min_size=1, max_size=5))
def test_blocks_in_any_order_lose_nothing_but_thoughts(messages: list[Any]) -> None:
    parsed = parse(*messages).messages
    blocks = [
        block
        for message in messages
        for block in (
            message["content"]
            if isinstance(message["content"], list)
            else [text(message["content"])]
        )
    ]
    for role in ("system", "user", "assistant"):
        wanted = [
            block["text"]
            for message in messages
            if message["role"] == role and isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "text"
        ]
        wanted += [m["content"] for m in messages if m["role"] == role == "system"]
        said = [part for m in parsed if m.role == role for part in m.text.split("\n") if part]
        assert sorted(said) == sorted(wanted)
    uses = [block for block in blocks if block["type"] == "tool_use"]
    calls = [call for message in parsed for call in message.calls]
    assert [(call.id, json.loads(call.arguments)) for call in calls] == [
        (block["id"], block["input"]) for block in uses
    ]
    results = [block for block in blocks if block["type"] == "tool_result"]
    assert [m.call_id for m in parsed if m.role == "tool"] == [r["tool_use_id"] for r in results]
    assert sum(len(message.images) for message in parsed) == json.dumps(messages).count(IMAGE)
