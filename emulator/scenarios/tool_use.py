"""Reads what a prompt says about tools, and decides what an assistant does with it.

It reads the text alone, as a model would. There are two forms. JSON: a list of JSON lines in
`<tools>`, and results in `<tool_result>` blocks. Hybrid: signatures in `<tools-V>`, and results in
`<result-V tool id ok>` blocks, several in one turn. V is the block value of the conversation.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from typing import Any

from emulator.prompt import Prompt
from emulator.scenarios.signatures import read_signatures

_LIST = re.compile(r"<tools>\n(.*?)\n</tools>", re.DOTALL)
_RESULT = re.compile(r'<tool_result((?: [a-z]+="[^"]*")*)>\n(.*)\n</tool_result>', re.DOTALL)
_HYBRID_RESULT = re.compile(
    r"<result-([A-Z0-9]{4}) ([^\n]+) (\S+) (?:ok|error)>\n(.*?)\n</result-\1>(?:\n|\Z)", re.DOTALL
)
_ATTRIBUTE = re.compile(r'([a-z]+)="([^"]*)"')
_NUMBER = re.compile(r"-?\d+")
_WORD = re.compile(r"\w+")
_PROPER = re.compile(r"\b[A-Z]\w+")
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Offered:
    """Describes a tool as the prompt does."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Describes what a tool answered, according to the prompt."""

    call_id: str
    tool: str
    text: str


@dataclass(frozen=True, slots=True)
class MadeCall:
    """Describes a call that the assistant makes."""

    tool: str
    arguments: dict[str, Any]


def offered(prompt: Prompt) -> list[Offered]:
    """Return the tools that the system block lists; lines that are no tools are passed over."""
    if prompt.block_value:
        return [
            Offered(tool.name, tool.description, tool.parameters)
            for tool in read_signatures(prompt.signatures)
            if isinstance(tool.parameters, dict)
        ]
    listed = _LIST.findall(prompt.system)
    tools = []
    for line in listed[-1].split("\n") if listed else ():
        try:
            tool = json.loads(line)
            tools.append(Offered(tool["name"], tool.get("description", ""), tool["parameters"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return tools


def results(prompt: Prompt) -> list[ToolResult]:
    """Return the results that the conversation ends with, in order."""
    found: list[ToolResult] = []
    for block in reversed(prompt.blocks):
        if block.role == "user" and (several := _hybrid_results(prompt, block.text)):
            return several + found[::-1]
        match = _RESULT.fullmatch(block.text) if block.role == "user" else None
        if match is None:
            break
        attributes = {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(match[1])}
        found.append(ToolResult(attributes.get("id", ""), attributes.get("name", ""), match[2]))
    return found[::-1]


def _hybrid_results(prompt: Prompt, text: str) -> list[ToolResult]:
    """Return the results in a text that consists of results, else nothing."""
    text = prompt.without_reminder(text)
    found, at = [], 0
    while match := _HYBRID_RESULT.match(text, at):
        found.append(ToolResult(match[3], match[2], match[4]))
        at = match.end()
    return found if at == len(text) else []


def answer(given: list[ToolResult]) -> str:
    """Return what the assistant says once it has results."""
    lines = [f"{result.tool or 'The tool'} says: {result.text}" for result in given]
    return "\n".join(lines) + "\n"


def choose(tools: list[Offered], text: str) -> Offered:
    """Return the tool whose name has most words in common with a text; the first among equals."""
    words = set(_WORD.findall(text.lower()))

    def shared(tool: Offered) -> int:
        return len(words & set(tool.name.lower().replace("-", "_").split("_")))

    return max(tools, key=shared)


def made_up(tool: Offered, text: str) -> MadeCall:
    """Return a call with arguments that fit the tool's schema, from the text if possible."""
    arguments = _example(tool.parameters, tool.parameters, text, 0)
    return MadeCall(tool.name, arguments if isinstance(arguments, dict) else {})


def _example(schema: Any, root: dict[str, Any], text: str, depth: int) -> Any:
    schema = _resolved(schema, root)
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    for fixed in ("const", "default"):
        if fixed in schema:
            return schema[fixed]
    if schema.get("enum"):
        return schema["enum"][0]
    for branches in (schema.get("anyOf"), schema.get("oneOf"), schema.get("allOf")):
        if branches:
            return _example(branches[0], root, text, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        wanted = schema.get("required", [])
        members = schema.get("properties", {}).items()
        return {
            name: _example(inner, root, text, depth + 1)
            for name, inner in members
            if name in wanted
        }
    if kind == "array":
        return [_example(schema.get("items", {}), root, text, depth + 1)]
    if kind in ("integer", "number"):
        number = _NUMBER.search(text)
        return int(number[0]) if number else 1
    if kind == "boolean":
        return True
    return None if kind == "null" else _word(text)


def _resolved(schema: Any, root: dict[str, Any]) -> Any:
    if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        found: Any = root
        for step in schema["$ref"].lstrip("#/").split("/"):
            found = found.get(step) if isinstance(found, dict) else None
        return found
    return schema


def _word(text: str) -> str:
    """The last name in a text, if there is one behind its first word, else the last word."""
    words = _PROPER.findall(text.partition(" ")[2]) or _WORD.findall(text) or ["something"]
    return str(words[-1])
