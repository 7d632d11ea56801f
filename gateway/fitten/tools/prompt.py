"""How tools, calls and their results are written into the prompt (protocol 4.6). No I/O.

Fitten has no channel of its own for them: tools are described in the system block, with
their schemas; calls stand in the assistant's turns in the notation that is asked for, and
results in turns of the user. Whatever looks like this notation in other text is broken up.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gateway.fitten.prompt_limit import MAX_EXAMINED_CHARS, too_long_error
from gateway.fitten.tools.interpretation import NO_PARAMETERS
from gateway.generation.request import GenerationRequest, Message, Tool, ToolCall

_OUR_TAGS = re.compile(r"<(?=\s{0,8}/?\s{0,8}tool(?:s|_calls?|_results?)\b)", re.IGNORECASE)
_IN_JSON = re.compile(r"<(?=[|/]|tool)", re.IGNORECASE)
_LEAST = len('<tool_call>\n{"name": "", "arguments": }\n</tool_call>')
_SPACE = re.compile(r"\s+")

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

_FORMAT = "The form asked for above is that of an answer without calls."


def needs_tools(request: GenerationRequest) -> bool:
    """Whether a request has anything to do with tools."""
    return bool(request.tools and request.offered) or any(m.calls for m in request.messages)


def with_tools_as_text(request: GenerationRequest, default_system: str) -> tuple[Message, ...]:
    """The request's messages with tools, calls and results written out as text.

    default_system: the system text where there is none.
    """
    calls = [call for message in request.messages for call in message.calls]
    size = sum(len(message.text) for message in request.messages)
    _refuse_excess(size + sum(_LEAST + len(call.arguments) for call in calls), request)
    names: dict[str, str] = {}
    written = []
    for message in request.messages:
        names.update((call.id, call.name) for call in message.calls)
        written.append(_written(message, names))
    if request.offered:
        if not any(m.role == "system" and m.text for m in written):
            written.append(Message("system", default_system))
        written.append(Message("system", _introduction(request)))
    return tuple(written)


def escape_tags(text: str) -> str:
    """The text with a blank behind each `<` that would begin a tag of our notation."""
    return _OUR_TAGS.sub("< ", text) if "<" in text else text


def _introduction(request: GenerationRequest) -> str:
    choice = request.tool_choice
    tools = "\n".join(map(_described, request.offered))
    _refuse_excess(len(tools), request)
    lines = [
        _INTRODUCTION.format(tools=_defused(tools)),
        _SEVERAL if request.parallel_tool_calls else _ONE,
    ]
    if choice.mode == "named":
        lines.append(_NAMED.format(name=choice.name))
    else:
        lines.append(_REQUIRED if choice.mode == "required" else _AUTO)
    if request.response_format is not None:
        lines.append(_FORMAT)
    return "\n".join(lines)


def _described(tool: Tool) -> str:
    members: dict[str, object] = {"name": tool.name}
    if tool.description:
        members["description"] = tool.description
    members["parameters"] = tool.parameters or NO_PARAMETERS
    return _json(members)


def _refuse_excess(size: int, request: GenerationRequest) -> None:
    """Before texts are looked through that will not be sent."""
    if size > MAX_EXAMINED_CHARS:
        raise too_long_error(size, request.messages)


def _written(message: Message, names: Mapping[str, str]) -> Message:
    text = escape_tags(message.text)
    if message.role == "tool":
        label = _attribute("id", message.call_id or "")
        if name := names.get(message.call_id or ""):
            label += _attribute("name", name)
        result = f"<tool_result{label}>\n{text}\n</tool_result>"
        return replace(message, role="user", text=result)
    if message.calls:
        text = "\n".join(_nonempty([text, *map(_called, message.calls)]))
    return replace(message, text=text, calls=())


def _called(call: ToolCall) -> str:
    try:
        arguments = json.loads(call.arguments or "{}")
        body = _json({"name": call.name, "arguments": arguments})
    except (ValueError, RecursionError):
        body = _json({"name": call.name, "arguments": call.arguments})
    return f"<tool_call{_attribute('id', call.id)}>\n{_defused(body)}\n</tool_call>"


def _attribute(name: str, value: str) -> str:
    """An attribute, its value in one line; nothing where there is no value."""
    return f' {name}="{html.escape(_SPACE.sub(" ", value))}"' if value else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _defused(written: str) -> str:
    """JSON in which nothing looks like a tag of ours or a role marker."""
    return _IN_JSON.sub(r"\\u003c", written)


def _nonempty(texts: Sequence[str]) -> Iterable[str]:
    return (text for text in texts if text)
