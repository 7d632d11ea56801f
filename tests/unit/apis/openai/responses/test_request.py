"""The bodies of Responses requests: the items, tools and parameters that clients send."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway.apis.openai.responses.request import Responses
from gateway.errors import InvalidRequest
from gateway.generation.request import (
    GenerationRequest,
    Image,
    Message,
    RemoteImage,
    ResponseFormat,
    ToolCall,
    ToolChoice,
)
from tests.images import png

PIXEL = base64.b64encode(png()).decode()
DATA = f"data:image/png;base64,{PIXEL}"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
SHELL = {"type": "function", "name": "run", "description": "Runs.", "parameters": SCHEMA}
SPACE = {
    "type": "namespace",
    "name": "team",
    "description": "Starts helpers.",
    "tools": [{"type": "function", "name": "start", "parameters": SCHEMA}],
}
PATCH = {
    "type": "custom",
    "name": "patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "a"\n'},
}
SEARCH = {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {}}
WEB = {"type": "web_search", "external_web_access": False}
NOT_THERE = "These tools are not available in this conversation: web_search."


def parse(given: Any = "hi", **more: Any) -> GenerationRequest:
    return Responses().parse(json.dumps({"input": given, **more}).encode())


def messages(*items: Any, **more: Any) -> tuple[Message, ...]:
    return parse(list(items), **more).messages


def refusal(given: Any = "hi", **more: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(given, **more)
    assert caught.value.status == 400
    return caught.value


def text(role: str, said: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": said}]}


def call(name: str, call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "name": name, "call_id": call_id, **more}


def output(call_id: str, said: Any, kind: str = "function_call_output") -> dict[str, Any]:
    return {"type": kind, "call_id": call_id, "output": said}


def test_a_text_is_a_message_of_the_user() -> None:
    assert parse().messages == (Message("user", "hi"),)


def test_instructions_come_first() -> None:
    assert parse(instructions="Be short.").messages == (
        Message("system", "Be short."),
        Message("user", "hi"),
    )


def test_messages_have_every_role_and_part() -> None:
    given = messages(
        text("developer", "rules"),
        text("system", "more"),
        {"role": "user", "content": "plain"},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": DATA, "detail": "high"},
                {"type": "input_image", "image_url": "https://example.com/a.png"},
            ],
        },
        {
            "id": "msg_1",
            "status": "completed",
            **text("assistant", "a", "output_text"),
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "refusal", "refusal": "no"}],
        },
        text("developer", "between"),
    )
    remote = RemoteImage("https://example.com/a.png", "input[3].content[2].image_url")
    assert given == (
        Message("system", "rules"),
        Message("system", "more"),
        Message("user", "plain"),
        Message("user", "see", images=(Image("image/png", PIXEL), remote)),
        Message("assistant", "a\nno"),
        Message("system", "between"),
    )


def test_the_items_of_an_assistant_are_one_message() -> None:
    given = messages(
        text("user", "go"),
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "T"}],
            "content": [{"type": "reasoning_text", "text": "secret"}],
            "encrypted_content": None,
        },
        text("assistant", "I run two.", "output_text"),
        call("run", "call_1", arguments='{"city": "a"}', id="fc_1", status="completed"),
        call("run", "call_2", arguments={"city": "b"}),
        output("call_1", "one"),
        output(
            "call_2", [{"type": "input_text", "text": "x"}, {"type": "input_text", "text": "y"}]
        ),
        text("assistant", "done", "output_text"),
        tools=[SHELL],
    )
    calls = (ToolCall("call_1", "run", '{"city": "a"}'), ToolCall("call_2", "run", '{"city": "b"}'))
    assert given == (
        Message("user", "go"),
        Message("assistant", "I run two.", calls=calls),
        Message("tool", "one", "call_1"),
        Message("tool", "x\ny", "call_2"),
        Message("assistant", "done"),
    )


def test_results_have_images_and_other_values() -> None:
    image = {"type": "input_image", "image_url": DATA, "detail": "high"}
    assert messages(
        call("view", "c", arguments="{}"), output("c", [image]), output("d", {"ok": True})
    )[1:] == (
        Message("tool", "", "c", images=(Image("image/png", PIXEL),)),
        Message("tool", '{"ok": true}', "d"),
    )


def test_a_result_without_its_call_stays() -> None:
    given = messages(text("user", "go"), output("lost", "text"), text("user", "and now?"))
    assert given[1] == Message("tool", "text", "lost")


def test_calls_of_custom_tools_and_of_the_local_shell_are_read() -> None:
    patch = {"type": "custom_tool_call", "call_id": "p", "name": "patch", "input": "*** a\n"}
    shell = {"type": "local_shell_call", "id": "s", "action": {"command": ["ls"]}}
    given = messages(
        patch,
        output("p", "ok", "custom_tool_call_output"),
        shell,
        {"type": "local_shell_call_output", "id": "s", "output": "a"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}},
    )
    assert given == (
        Message("assistant", "", calls=(ToolCall("p", "patch", '{"input": "*** a\\n"}'),)),
        Message("tool", "ok", "p"),
        Message("assistant", "", calls=(ToolCall("s", "local_shell", '{"command": ["ls"]}'),)),
        Message("tool", "a", "s"),
    )


def test_a_function_of_a_namespace_is_offered_under_its_name() -> None:
    found = parse(
        [text("user", "go"), call("start", "c", namespace="team", arguments="{}")],
        tools=[SHELL, SPACE],
    )
    assert [(tool.name, tool.namespace) for tool in found.tools] == [("run", ""), ("start", "team")]
    assert found.messages[-1].calls == (ToolCall("c", "start", "{}"),)
    assert Message("system", "team: Starts helpers.") in found.messages


def test_names_that_two_tools_have_are_qualified() -> None:
    other = {**SPACE, "name": "mcp__x", "description": ""}
    bare = {**SHELL, "name": "start"}
    found = parse(
        [
            call("start", "a", namespace="team", arguments="{}"),
            call("start", "b", namespace="mcp__x", arguments="{}"),
            call("start", "c", arguments="{}"),
            call("gone", "d", namespace="old", arguments="{}"),
        ],
        tools=[bare, SPACE, other],
    )
    names = ["start", "team.start", "mcp__x.start"]
    assert [tool.name for tool in found.tools] == names
    shown = [one.name for one in found.messages[-1].calls]
    assert shown == ["team.start", "mcp__x.start", "start", "old.gone"]


def test_a_custom_tool_has_one_argument_and_its_grammar() -> None:
    (tool,) = parse(tools=[PATCH]).tools
    assert (tool.name, tool.kind) == ("patch", "text")
    rule = 'The text must follow this grammar (lark):\nstart: "a"'
    assert tool.description == f"Edits files.\n{rule}"
    assert tool.parameters["required"] == ["input"]
    (plain,) = parse(tools=[{"type": "custom", "name": "p", "format": {"type": "text"}}]).tools
    assert plain.description == ""


def test_tools_that_are_not_run_here_are_named_to_the_model() -> None:
    found = parse([text("system", "rules"), text("user", "go")], tools=[WEB, SHELL, WEB])
    assert [tool.name for tool in found.tools] == ["run"]
    assert found.messages == (
        Message("system", "rules"),
        Message("system", NOT_THERE),
        Message("user", "go"),
    )
    server = {"type": "tool_search", "execution": "server"}
    kinds = [{"type": kind} for kind in ("mcp", "code_interpreter", "local_shell", "file_search")]
    assert (
        parse(tools=[server, *kinds])
        .messages[0]
        .text.endswith(": tool_search, mcp, code_interpreter, local_shell, file_search.")
    )


def test_a_search_offers_what_it_has_found() -> None:
    late = {**SHELL, "name": "late", "defer_loading": True}
    found = parse(
        [
            {"type": "tool_search_call", "call_id": "s", "execution": "client",
             "arguments": {"query": "x"}},
            {"type": "tool_search_output", "call_id": "s", "status": "completed",
             "execution": "client", "tools": [late, SPACE]},
        ],
        tools=[SEARCH],
    )  # fmt: skip
    assert [(tool.name, tool.kind) for tool in found.tools] == [
        ("tool_search", "search"),
        ("late", "function"),
        ("start", "function"),
    ]
    assert found.messages[1:] == (
        Message("assistant", "", calls=(ToolCall("s", "tool_search", '{"query": "x"}'),)),
        Message("tool", "These tools can be called now: late, start.", "s"),
    )


@pytest.mark.parametrize(
    ("choice", "names", "expected"),
    [
        (None, ["run", "patch"], ToolChoice()),
        ("auto", ["run", "patch"], ToolChoice()),
        ("none", ["run", "patch"], ToolChoice("none")),
        ("required", ["run", "patch"], ToolChoice("required")),
        ({"type": "function", "name": "run"}, ["run", "patch"], ToolChoice("named", "run")),
        ({"type": "custom", "name": "patch"}, ["run", "patch"], ToolChoice("named", "patch")),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "run"}, {"type": "web_search"}],
            },
            ["run"],
            ToolChoice("required"),
        ),
    ],
)
def test_the_choice_of_tools(choice: Any, names: list[str], expected: ToolChoice) -> None:
    found = parse(tools=[SHELL, PATCH], tool_choice=choice)
    assert ([tool.name for tool in found.tools], found.tool_choice) == (names, expected)


def test_parameters_with_an_effect() -> None:
    found = parse(
        model="fitten-code", stream=True, max_output_tokens=5.0, parallel_tool_calls=False
    )
    assert (found.model, found.stream, found.max_tokens) == ("fitten-code", True, 5)
    assert found.parallel_tool_calls is False
    assert parse(max_output_tokens=None).max_tokens is None
    assert parse().reasoning is False
    assert parse(reasoning={"effort": "high", "summary": "auto"}).reasoning
    assert parse(reasoning={"generate_summary": "concise"}).reasoning


def test_the_form_of_the_answer() -> None:
    schema = {"type": "json_schema", "name": "out", "strict": True, "schema": SCHEMA}
    assert parse(text={"format": schema}).response_format == ResponseFormat(
        schema=SCHEMA, name="out"
    )
    assert parse(text={"format": {"type": "json_object"}}).response_format == ResponseFormat(True)
    assert parse(text={"verbosity": "low"}).response_format is None
    assert parse(text={"format": {"type": "text"}}).response_format is None
    assert refusal(text={"format": {"type": "xml"}}).param == "text.format.type"
    assert refusal(text={"format": {"type": "json_schema"}}).param == "text.format.name"


def test_parameters_without_an_effect_are_accepted_and_told() -> None:
    found = parse(
        store=True,
        include=["reasoning.encrypted_content"],
        metadata={"a": "b"},
        client_metadata={"c": "d"},
        prompt_cache_key="k",
        truncation="auto",
        service_tier="flex",
        temperature=0.2,
        previous_response_id=None,
        conversation=None,
        background=False,
    )
    assert found.ignored == ("temperature",)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (
            {"previous_response_id": "resp_1"},
            "previous_response_not_found",
            "previous_response_id",
        ),
        ({"conversation": {"id": "c"}}, "unsupported_value", "conversation"),
        ({"conversation": "c"}, "unsupported_value", "conversation"),
        ({"prompt": {"id": "p"}}, "unsupported_value", "prompt"),
        ({"background": True}, "unsupported_value", "background"),
        ({"given": None}, "missing_required_parameter", "input"),
        ({"given": []}, None, "input"),
        ({"given": 5}, "invalid_type", "input"),
        (
            {"given": [{"type": "item_reference", "id": "x"}]},
            "unsupported_value",
            "input[0].type",
        ),
        (
            {"given": [{"role": "user", "content": "a"}, {"type": "computer_call"}]},
            "unsupported_value",
            "input[1].type",
        ),
        ({"given": [{"content": "a"}]}, "missing_required_parameter", "input[0].type"),
        (
            {"given": [{"type": "message", "content": "a"}]},
            "missing_required_parameter",
            "input[0].role",
        ),
        (
            {"given": [{"role": "user"}]},
            "missing_required_parameter",
            "input[0].content",
        ),
        (
            {"given": [{"role": "robot", "content": "a"}]},
            "unsupported_value",
            "input[0].role",
        ),
        (
            {"given": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "unsupported_value",
            "input[0].content[0].type",
        ),
        (
            {"given": [{"type": "function_call", "call_id": "c"}]},
            "missing_required_parameter",
            "input[0].name",
        ),
        (
            {"given": [{"type": "function_call", "name": "f"}]},
            "missing_required_parameter",
            "input[0].call_id",
        ),
        (
            {"given": [{"type": "function_call_output", "call_id": "c"}]},
            "missing_required_parameter",
            "input[0].output",
        ),
        (
            {
                "given": [
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": [{"type": "input_file"}],
                    }
                ]
            },
            "unsupported_value",
            "input[0].output[0].type",
        ),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "missing_required_parameter", "tools[0].type"),
        ({"tools": [{**SHELL, "name": "a b"}]}, "unsupported_value", "tools[0].name"),
        ({"tools": [SHELL, {**SHELL, "description": "x"}]}, "unsupported_value", "tools[1].name"),
        (
            {"tools": [{**SPACE, "tools": [{"type": "mcp"}]}]},
            "unsupported_value",
            "tools[0].tools[0].type",
        ),
        ({"tools": [{**SPACE, "name": None}]}, "missing_required_parameter", "tools[0].name"),
        (
            {"tools": [SHELL], "tool_choice": {"type": "function", "name": "x"}},
            "unsupported_value",
            "tool_choice.name",
        ),
        ({"tool_choice": "required"}, "unsupported_value", "tool_choice"),
        (
            {"given": [{"type": "tool_search_output", "call_id": "s", "tools": [{"name": "f"}]}]},
            "missing_required_parameter",
            "input[0].tools[0].type",
        ),
        ({"max_output_tokens": 1.5}, "invalid_type", "max_output_tokens"),
    ],
)
def test_what_would_change_the_answer_is_refused(
    body: dict[str, Any], code: str | None, param: str
) -> None:
    error = refusal(**{"given": "hi", **body})
    assert (error.code, error.param) == (code, param)


def test_too_many_items_and_tools_are_refused() -> None:
    assert refusal([{"role": "user", "content": "a"}] * 10_001).code == "context_length_exceeded"
    many = [{"type": "function", "name": f"f{i}"} for i in range(300)]
    assert refusal(tools=[{**SPACE, "tools": many}]).param == "tools"
