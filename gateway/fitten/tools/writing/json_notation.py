"""Writes tools, calls and tool results as JSON in tags. No I/O.

The system block describes the tools with the JSON schemas of their arguments, and asks for calls
as one JSON object in `<tool_call>`. Tags of this notation in other text are escaped.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gateway.fitten.conversation import add_to_system_block
from gateway.fitten.tools.writing.written_tools import (
    NO_PARAMETERS,
    WrittenTools,
    refuse_excess,
    refuse_long_history,
)
from gateway.generation.outcome import OfferedTools
from gateway.generation.request import GenerationRequest, Message, Tool, ToolCall
from gateway.generation.surrogates import replace_halves

_OUR_TAGS = re.compile(r"<(?=\s{0,8}/?\s{0,8}tool(?:s|_calls?|_results?)\b)", re.IGNORECASE)
# A role marker with blanks stays: it is escaped with all other text of the prompt.
_IN_JSON = re.compile(r"<(?=\|(?! )|/|tool)", re.IGNORECASE)
# json.dumps would make an encoder at each call.
_json = json.JSONEncoder(ensure_ascii=False).encode
_MIN_CALL_SIZE = len('<tool_call>\n{"name": "", "arguments": }\n</tool_call>')
_WHITE_SPACE = re.compile(r"\s+")

_INTRODUCTION = """\
# Tools

You can call the tools below. Each line is a JSON object: the tool's name, what it does, and \
the JSON schema of its arguments.

<tools>
{tools}
</tools>

To call a tool, write this block, with nothing round it but line ends:

<tool_call>
{{"name": "the tool's name", "arguments": {{"an argument's name": "its value"}}}}
</tool_call>

The arguments are one JSON object that fits the tool's schema. Call no other tools than these. \
After your calls, end your answer: the results come in the next turn as <tool_result> blocks. \
Never write a <tool_result> yourself."""

_ONE = "Make at most one call in an answer."
_SEVERAL = "If you need several calls that do not depend on each other, write several blocks."
_AUTO = "If you need no tool, answer in plain text without such a block."
_REQUIRED = "This time you must call at least one tool; do not answer without a call."
_NAMED = "This time you must call the tool {name}; do not answer without that call."

_FORMAT_NOTE = "The form asked for above is that of an answer without calls."


def write_tools(request: GenerationRequest, default_system: str) -> WrittenTools:
    """Return the messages of the request with tools, calls and results as text.

    default_system: the system text for a request that has none.
    Raises InvalidRequest when the text is too long.
    """
    refuse_long_history(request, _MIN_CALL_SIZE)
    names: dict[str, str] = {}
    messages = []
    for message in request.messages:
        for call in message.calls:
            names[call.id] = call.name
        messages.append(_render_message(message, names))
    if request.offered:
        tools = "\n".join(map(describe_tool, request.offered))
        refuse_excess(len(tools), request.messages)
        introduction = _introduction(request, tools)
        return WrittenTools(
            add_to_system_block(messages, introduction, default_system=default_system),
            offered=OfferedTools(len(request.offered), len(tools)),
        )
    return WrittenTools(tuple(messages))


def escape_tags(text: str) -> str:
    """Return the text with a blank behind each `<` that would begin a tag of our notation."""
    return _OUR_TAGS.sub("< ", text) if "<" in text else text


def _introduction(request: GenerationRequest, tools: str) -> str:
    choice = request.tool_choice
    lines = [
        _INTRODUCTION.format(tools=_escape_json(tools)),
        _SEVERAL if request.parallel_tool_calls else _ONE,
    ]
    if choice.mode == "named":
        lines.append(_NAMED.format(name=choice.name))
    else:
        lines.append(_REQUIRED if choice.mode == "required" else _AUTO)
    if request.response_format is not None:
        lines.append(_FORMAT_NOTE)
    return "\n".join(lines)


def describe_tool(tool: Tool) -> str:
    """Return a tool as one line of JSON."""
    members: dict[str, object] = {"name": tool.name}
    if tool.description:
        members["description"] = tool.description
    members["parameters"] = tool.parameters or NO_PARAMETERS
    return _json(members)


def _render_message(message: Message, names: Mapping[str, str]) -> Message:
    text = escape_tags(message.text)
    if message.role == "tool":
        label = _attribute("id", message.call_id or "")
        if name := names.get(message.call_id or ""):
            label += _attribute("name", name)
        result = f"<tool_result{label}>\n{text}\n</tool_result>"
        return Message("user", result, images=message.images)
    if message.calls:
        text = "\n".join(_nonempty([text, *map(_render_call, message.calls)]))
    elif text is message.text:
        return message
    return replace(message, text=text)


def _render_call(call: ToolCall) -> str:
    try:
        arguments = json.loads(call.arguments or "{}")
        body = _json({"name": call.name, "arguments": arguments})
        if "\\ud" in call.arguments or "\\uD" in call.arguments:
            body, _ = replace_halves(body)  # an escape may stand for half an emoji
    except (ValueError, RecursionError):
        body = _json({"name": call.name, "arguments": call.arguments})
    return f"<tool_call{_attribute('id', call.id)}>\n{_escape_json(body)}\n</tool_call>"


def _attribute(name: str, value: str) -> str:
    """Return an attribute, its value in one line; "" when there is no value."""
    return f' {name}="{html.escape(_WHITE_SPACE.sub(" ", value))}"' if value else ""


def _escape_json(text: str) -> str:
    """Return JSON in which nothing looks like a tag of our notation or a role marker."""
    return _IN_JSON.sub(r"\\u003c", text)


def _nonempty(texts: Sequence[str]) -> Iterable[str]:
    return (text for text in texts if text)
