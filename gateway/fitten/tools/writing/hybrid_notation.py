"""Writes tools, calls and tool results in the hybrid notation: short JSON, long texts raw. No I/O.

A call has one line of JSON with its short arguments, then a block for each long text, in which
nothing is escaped. Each block carries a value that occurs nowhere else in the request. So texts
of users, files and tools need no escapes, and cannot open or close a block.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from gateway.fitten.conversation import add_to_system_block
from gateway.fitten.tools.writing import block_value
from gateway.fitten.tools.writing.signatures import example_arguments, render_tools
from gateway.fitten.tools.writing.written_tools import (
    WrittenTools,
    refuse_excess,
    refuse_long_history,
)
from gateway.generation.request import GenerationRequest, Message, Tool, ToolCall
from gateway.generation.surrogates import replace_halves

_MIN_CALL_SIZE = len("<call-VVVV >\n{}\n</call-VVVV>")
_SHORT = 200  # characters of a text that may stand in the line of JSON
_MAX_ESCAPES = 1  # characters in such a text that JSON would escape
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_LINE_ENDS = re.compile(r"[\n\r]")
_ARGUMENT_NAME = re.compile(r"[^\s<>]{1,128}")
_WHITE_SPACE = re.compile(r"\s+")
_NO_OUTPUT = "(no output)"
_ONLY_IMAGES = "(an image)"
_UNKNOWN_TOOL = "tool"
_MAX_EXAMPLES = 16  # tools that are looked at for an example
# Names of arguments that are likely to be code or other long texts.
_LONG_TEXT = re.compile(
    r"content|code|text|string|source|script|command|patch|diff|prompt|body|message|input", re.I
)
_EXAMPLE_LINES = "first line\nsecond line"
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode

_INTRODUCTION = """\
# Tools

The tools below are on the user's machine. The program that reads your answer runs the calls in \
it, and gives you their results in the next message.

<tools-{value}>
{tools}
</tools-{value}>

An indented line of the list is an argument: a string unless a type follows its name. Arguments \
with ? may be left out. A call is a block like this:

{example}

- The second line is one JSON object with the short arguments; {{}} if there are none.
- A long text, such as code, stands in a block of its own: from <arg NAME> to </arg-{value}>, \
both in lines of their own. Write the text exactly as it is; nothing in it is escaped.
- Use only the tools and the argument names of the list.
- {several}
- A sentence before a call is fine. After the last </call-{value}>, end your answer. The results \
come in the next message in <result-{value}> blocks; do not write such blocks yourself.
{note}{choice}"""

_VALUE = "{value}"
_SEVERAL = "Calls that do not depend on each other are several blocks, one after another."
_ONE = "Make at most one call in an answer."
_AUTO = "If no tool is needed, answer normally, without a block."
_REQUIRED = "In this answer, call at least one tool."
_NAMED = "In this answer, call the tool {name}."
_FORMAT_NOTE = "- The form asked for above is that of an answer without calls.\n"
_REMINDER = "(Form of a call: <call-{value} NAME>, one line of JSON, </call-{value}>.{more})"


def write_tools(request: GenerationRequest, default_system: str, key: bytes) -> WrittenTools:
    """Return the messages of the request with tools, calls and results as text.

    default_system: the system text for a request that has none.
    key: the gateway's secret, from which the value of the blocks is made.
    Raises InvalidRequest when the text is too long.
    """
    refuse_long_history(request, _MIN_CALL_SIZE)
    for value in block_value.candidates(request.messages, key):
        writer = _Writer(value)
        messages = writer.messages(request, default_system)
        found = sum([message.text.count(value) for message in messages])
        if found == writer.uses:  # no text of the request has it
            break
    return WrittenTools(messages, value)


class _Writer:
    """Writes one request with one value for its blocks.

    uses: how often the value was written.
    """

    def __init__(self, value: str) -> None:
        self._value = value
        self.uses = 0

    def messages(self, request: GenerationRequest, default_system: str) -> tuple[Message, ...]:
        """Return the messages of the request as text."""
        messages = self._turns(request.messages)
        if not request.offered:
            return tuple(messages)
        self._add_reminder(messages, request)
        introduction = self._introduction(request)
        return add_to_system_block(messages, introduction, default_system=default_system)

    def _turns(self, given: Sequence[Message]) -> list[Message]:
        """Return the messages, results in the order of the calls and in one turn."""
        turns: list[Message] = []
        results: list[Message] = []
        calls: tuple[ToolCall, ...] = ()
        for message in given:
            if message.role == "tool":
                results.append(message)
                continue
            if results:
                turns.append(self._results(results, calls))
                results = []
            if message.calls:
                calls = message.calls
                text = "\n".join([self._call(call) for call in calls])
                if message.text:
                    text = f"{message.text}\n{text}"
                message = Message("assistant", text, images=message.images)
            turns.append(message)
        if results:
            turns.append(self._results(results, calls))
        return turns

    def _results(self, results: Sequence[Message], calls: Sequence[ToolCall]) -> Message:
        """Return the turn with the results of calls; those of unknown calls come last."""
        places = {call.id: place for place, call in reversed([*enumerate(calls)])}
        names = {call.id: call.name for call in calls}

        def place(result: Message) -> int:
            return places.get(result.call_id or "", len(calls))

        ordered = sorted(results, key=place)
        text = "\n".join([self._result(result, names) for result in ordered])
        images = tuple([image for result in ordered for image in result.images])
        return Message("user", text, images=images)

    def _result(self, result: Message, names: Mapping[str, str]) -> str:
        name = _word(names.get(result.call_id or "", "")) or _UNKNOWN_TOOL
        status = "error" if result.failed else "ok"
        label = " ".join([word for word in (name, _word(result.call_id or ""), status) if word])
        self.uses += 2
        text = result.text or (_ONLY_IMAGES if result.images else _NO_OUTPUT)
        return f"<result-{self._value} {label}>\n{text}\n</result-{self._value}>"

    def _call(self, call: ToolCall) -> str:
        line, texts = _split_arguments(call.arguments)
        return self._block(call.name, line, texts)

    def _block(self, name: str, line: str, texts: Mapping[str, str]) -> str:
        value = self._value
        self.uses += 2 + len(texts)
        if not texts:
            return f"<call-{value} {_word(name)}>\n{line}\n</call-{value}>"
        lines = [f"<call-{value} {_word(name)}>", line]
        for argument, text in texts.items():
            lines += [f"<arg {argument}>", text, f"</arg-{value}>"]
        lines.append(f"</call-{value}>")
        return "\n".join(lines)

    def _introduction(self, request: GenerationRequest) -> str:
        choice = request.tool_choice
        named = choice.name if choice.mode == "named" else None
        tools = render_tools(request.offered, named=named).text
        refuse_excess(len(tools), request.messages)
        if choice.mode == "named":
            wanted = _NAMED.format(name=choice.name)
        else:
            wanted = _REQUIRED if choice.mode == "required" else _AUTO
        text = _INTRODUCTION.format(
            value=self._value,
            tools=tools,
            example=self._example(request.offered),
            several=_SEVERAL if request.parallel_tool_calls else _ONE,
            note=_FORMAT_NOTE if request.response_format is not None else "",
            choice=wanted,
        )
        self.uses += _INTRODUCTION.count(_VALUE)
        return text

    def _example(self, tools: Sequence[Tool]) -> str:
        """Return a call of an offered tool, if possible one with a long text."""
        tool, arguments, long = tools[0], example_arguments(tools[0]), list[str]()
        for one in tools[:_MAX_EXAMPLES]:
            found = example_arguments(one)
            if names := [name for name in _texts_of(one) if name in found]:
                tool, arguments, long = one, found, names[-1:]
                break
        short = {name: value for name, value in arguments.items() if name not in long}
        line = json.dumps(short, ensure_ascii=False)
        return self._block(tool.name, line, dict.fromkeys(long, _EXAMPLE_LINES))

    def _add_reminder(self, messages: list[Message], request: GenerationRequest) -> None:
        """Add one line on the form of calls to the last turn of the user, if there is one."""
        for index in range(len(messages) - 1, -1, -1):
            message = messages[index]
            if message.role == "user":
                choice, more = request.tool_choice, ""
                if choice.mode == "named":
                    more = " " + _NAMED.format(name=choice.name)
                elif choice.mode == "required":
                    more = " " + _REQUIRED
                if not request.parallel_tool_calls:
                    more += " " + _ONE
                reminder = _REMINDER.format(value=self._value, more=more)
                self.uses += _REMINDER.count(_VALUE)
                messages[index] = replace(message, text=f"{message.text}\n\n{reminder}")
                return


def _texts_of(tool: Tool) -> list[str]:
    """Return the arguments of a tool that look like texts of several lines."""
    properties = tool.parameters.get("properties")
    if not isinstance(properties, dict):
        return []
    return [
        name
        for name, schema in properties.items()
        if isinstance(schema, dict)
        and schema.get("type") == "string"
        and "enum" not in schema
        and _ARGUMENT_NAME.fullmatch(name)
        and _LONG_TEXT.search(name)
    ]


def _split_arguments(arguments: str) -> tuple[str, dict[str, str]]:
    """Return the line of JSON with the short arguments, and the long texts by name.

    All values keep the digits and characters that the client sent. Arguments that are no JSON
    object are one long text, since some tools take a text.
    """
    if arguments in ("", "{}"):
        return "{}", {}
    try:
        members = _members(arguments)
        texts, line = {}, []
        for name, raw in members.items():
            value = bytes(raw)
            if value[:1] == b'"':
                text = _decode_text(value)
                if _is_long(text) and _ARGUMENT_NAME.fullmatch(name):
                    texts[name] = text
                    continue
                value = msgspec.json.encode(text)
            elif value[:1] in (b"{", b"["):
                value = msgspec.json.format(value, indent=-1)
            line.append(f"{msgspec.json.encode(name).decode()}: {value.decode()}")
    except (ValueError, RecursionError):
        return "{}", {"input": arguments}
    return "{" + ", ".join(line) + "}", texts


def _members(arguments: str) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object, not decoded. Raises ValueError for anything else."""
    try:
        return _decode_members(arguments)
    except msgspec.DecodeError:
        if "\\ud" not in arguments.lower():
            raise
        # An escape may stand for half an emoji, which msgspec refuses.
        whole, _ = replace_halves(json.dumps(json.loads(arguments), ensure_ascii=False))
        return _decode_members(whole)


def _is_long(text: str) -> bool:
    """Return whether a text is written raw: with several lines, long, or with many escapes."""
    if len(text) > _SHORT or _LINE_ENDS.search(text):
        return True
    return len(_ESCAPED.findall(text)) > _MAX_ESCAPES


def _word(text: str) -> str:
    """Return a name or an id without white space and `>`, which would end it."""
    return _WHITE_SPACE.sub("_", text).replace(">", "_")
