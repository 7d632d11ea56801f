"""Lists every way in which models were seen to write a call, and common mistakes in it.

Every XML call that was recorded stands inside `<function_calls>` (protocol 13), except `tool_call`
and `lone`. The quirk `unwrapped` leaves the wrapper out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from emulator.scenarios.native_notations import (
    NATIVE_NOTATIONS,
    NativeNotation,
    is_native,
    without_end,
    written_native,
)
from emulator.scenarios.tool_use import MadeCall

Notation = Literal[
    "tool_call",
    "tool_call_children",
    "attributes",
    "invoke",
    "parameters",
    "use_tool",
    "function_call",
    "function_call_children",
    "tag",
    "bracket_functions",
    "bracket_tools",
    "listing",
    "json",
    "json_list",
    "fenced",
    "lone",
    NativeNotation,
]
# `hybrid` has the prompt's block value in its tags. `auto` is `hybrid` if the prompt has such a
# value, else `tool_call`.
CallNotation = Literal["auto", "hybrid", Notation]
Quirk = Literal[
    "none",
    "upper_case",
    "single_quotes",
    "no_quotes",
    "entities",
    "raw_quotes",
    "literals",
    "full_width",
    "never_closed",
    "twice",
    "several_blocks",
    "prose",
    "prose_after",
    "results",
    "unwrapped",
    "broken",
]
NOTATIONS: tuple[Notation, ...] = get_args(Notation)
QUIRKS: tuple[Quirk, ...] = get_args(Quirk)

# A model that was not given a block value makes one up.
_MADE_UP_VALUE = "ABCD"
_XML = {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "'": "&apos;"}


def written(
    calls: Sequence[MadeCall], notation: CallNotation, quirk: Quirk = "none", value: str = ""
) -> str:
    """Return the text of an answer that makes these calls. value: the prompt's block value."""
    blocks: Callable[[Sequence[MadeCall], Quirk], str]
    if notation == "hybrid" or (notation == "auto" and value):
        blocks = _each(lambda call, _: _hybrid(call, value or _MADE_UP_VALUE))
    else:
        blocks = _BLOCKS["tool_call" if notation == "auto" else notation]
    text = blocks(calls, quirk)
    match quirk:
        case "never_closed" if is_native(notation):
            return without_end(text, notation)
        case "never_closed":
            return text[: text.rstrip().rfind("\n")] if "\n" in text else text
        case "twice":
            return f"{text}\n{text}"
        case "several_blocks":
            return "\n\n".join(blocks([call], quirk) for call in calls)
        case "prose":
            return f"Let me look that up.\n\n{text}"
        case "prose_after":
            return f"Let me look that up.\n\n{text}\n\nOne moment, please."
        case "results":
            return f"{text}\n<function_results>\n<result>made up</result>\n</function_results>\n"
        case "broken":
            return text[: len(text) * 2 // 3]
    return text


def _hybrid(call: MadeCall, value: str) -> str:
    """A block whose strings of several lines, or with quotes, are raw."""
    raw: dict[str, str] = {}
    short: dict[str, Any] = {}
    for name, given in call.arguments.items():
        if isinstance(given, str) and ("\n" in given or '"' in given):
            raw[name] = given
        else:
            short[name] = given
    lines = [f"<call-{value} {call.tool}>", json.dumps(short, ensure_ascii=False)]
    for name, text in raw.items():
        lines += [f"<arg {name}>", text, f"</arg-{value}>"]
    return "\n".join([*lines, f"</call-{value}>"])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _escaped(text: str) -> str:
    return "".join(_XML.get(character, character) for character in text)


def _attributes(members: dict[str, Any], quirk: Quirk) -> str:
    words = []
    for name, value in members.items():
        text = _text(value)
        name = name.upper() if quirk == "upper_case" else name
        if quirk == "raw_quotes":
            words.append(f'{name}="{text}"')
        elif quirk == "single_quotes":
            words.append(f"{name}='{text.replace(chr(39), '&apos;')}'")
        elif quirk == "no_quotes" and text and not set(text) & set(" \t\n\"'<>/=`"):
            words.append(f"{name}={text}")
        elif quirk == "full_width":
            words.append(f"{name}=“{_escaped(text)}”")
        else:
            words.append(f'{name}="{_escaped(text)}"')
    return " ".join(words)


def _tag(name: str, quirk: Quirk) -> str:
    return name.upper() if quirk == "upper_case" else name


def _json(value: Any, quirk: Quirk) -> str:
    if quirk == "literals" and isinstance(value, dict):
        value = {name: _text(inner) for name, inner in value.items()}
    text = json.dumps(value, ensure_ascii=False)
    if quirk == "entities":
        return text.replace("&", "&amp;").replace('"', "&quot;")
    if quirk == "full_width" and "\\" not in text:
        return _curly(text)
    return text


def _curly(text: str) -> str:
    pieces = text.split('"')
    return "".join(
        piece + ("" if at == len(pieces) - 1 else "“" if at % 2 == 0 else "”")
        for at, piece in enumerate(pieces)
    )


def _children(members: dict[str, Any], quirk: Quirk) -> str:
    lines = []
    for name, value in members.items():
        name = _tag(name, quirk)
        text = _text(value)
        lines.append(f"<{name}>{_escaped(text) if quirk == 'entities' else text}</{name}>")
    return "\n".join(lines)


def _empty_tag(call: MadeCall, quirk: Quirk) -> str:
    attributes = _attributes(call.arguments, quirk)
    return f"<{_tag(call.tool, quirk)} {attributes} />".replace("  ", " ")


def _wrapped(
    lines: Sequence[str], quirk: Quirk, name: str = "function_calls", brackets: str = "<>"
) -> str:
    if quirk == "unwrapped" and brackets == "<>":
        return "\n".join(lines)
    name = _tag(name, quirk)
    left, right = brackets[0], brackets[1]
    return "\n".join([f"{left}{name}{right}", *lines, f"{left}/{name}{right}"])


def _invoke(call: MadeCall, quirk: Quirk) -> str:
    invoke, arguments = _tag("invoke", quirk), _tag("arguments", quirk)
    if quirk == "raw_quotes":
        text = json.dumps(call.arguments, ensure_ascii=False)
        return f'<invoke tool_name="{call.tool}" arguments="{text}" />'
    head = _attributes({"tool_name": call.tool}, quirk)
    return f"<{invoke} {head}><{arguments}>{_json(call.arguments, quirk)}</{arguments}></{invoke}>"


def _parameters(name: str, members: dict[str, Any], quirk: Quirk) -> str:
    invoke, parameter = _tag("invoke", quirk), _tag("parameter", quirk)
    lines = [
        f"<{parameter} {_attributes({'name': key}, _no_case(quirk))}>"
        f"{_escaped(_text(value)) if quirk == 'entities' else _text(value)}</{parameter}>"
        for key, value in members.items()
    ]
    head = _attributes({"name": name}, _no_case(quirk))
    return "\n".join([f"<{invoke} {head}>", *lines, f"</{invoke}>"])


def _no_case(quirk: Quirk) -> Quirk:
    return "none" if quirk == "upper_case" else quirk


def _named(tag: str, call: MadeCall, quirk: Quirk, *, children: bool) -> str:
    tag, name, arguments = (_tag(word, quirk) for word in (tag, "name", "arguments"))
    inner = _children(call.arguments, quirk) if children else _json(call.arguments, quirk)
    return f"<{tag}>\n<{name}>{call.tool}</{name}>\n<{arguments}>{inner}</{arguments}>\n</{tag}>"


def _object(call: MadeCall, quirk: Quirk) -> str:
    if quirk == "entities":
        quirk = "none"
    if quirk == "literals":
        arguments = {name: _text(value) for name, value in call.arguments.items()}
        return json.dumps({"name": call.tool, "arguments": arguments}, ensure_ascii=False)
    return _json({"name": call.tool, "arguments": call.arguments}, quirk)


def _tool_call(call: MadeCall, quirk: Quirk) -> str:
    tag = _tag("tool_call", quirk)
    return f"<{tag}>\n{_object(call, quirk)}\n</{tag}>"


def _listing(calls: Sequence[MadeCall], quirk: Quirk) -> str:
    lines = []
    for number, call in enumerate(calls):
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        lines += ["[tool_calls]", f"- id: call_{number}", f"- name: {call.tool}"]
        lines += [f"- arguments: {arguments}"]
    return "\n".join([*lines, "</tool_calls>"])


def _list(calls: Sequence[MadeCall], quirk: Quirk) -> str:
    items = [{"name": call.tool, "arguments": call.arguments} for call in calls]
    return json.dumps({"tool_calls": items}, ensure_ascii=False)


def _each(write: Callable[[MadeCall, Quirk], str]) -> Callable[[Sequence[MadeCall], Quirk], str]:
    return lambda calls, quirk: "\n".join(write(call, quirk) for call in calls)


def _inside(write: Callable[[MadeCall, Quirk], str]) -> Callable[[Sequence[MadeCall], Quirk], str]:
    return lambda calls, quirk: _wrapped([write(call, quirk) for call in calls], quirk)


def _native(name: NativeNotation) -> Callable[[Sequence[MadeCall], Quirk], str]:
    return lambda calls, quirk: written_native(calls, name, literals=quirk == "literals")


_BLOCKS: dict[Notation, Callable[[Sequence[MadeCall], Quirk], str]] = {
    "tool_call": _each(_tool_call),
    "tool_call_children": _each(lambda c, q: _named("tool_call", c, q, children=True)),
    "attributes": _inside(_empty_tag),
    "invoke": _inside(_invoke),
    "parameters": _inside(lambda c, q: _parameters(c.tool, c.arguments, q)),
    "use_tool": _inside(
        lambda c, q: _parameters("use_tool", {"tool_name": c.tool, "arguments": c.arguments}, q)
    ),
    "function_call": _inside(lambda c, q: _named("function_call", c, q, children=False)),
    "function_call_children": _inside(lambda c, q: _named("function_call", c, q, children=True)),
    "tag": _inside(
        lambda c, q: f"<{_tag(c.tool, q)}>\n{_children(c.arguments, q)}\n</{_tag(c.tool, q)}>"
    ),
    "bracket_functions": lambda cs, q: _wrapped(
        [_empty_tag(c, q) for c in cs], q, "function_calls", "[]"
    ),
    "bracket_tools": lambda cs, q: _wrapped([_object(c, q) for c in cs], q, "tool_calls", "[]"),
    "listing": _listing,
    "json": _each(_object),
    "json_list": _list,
    "fenced": _each(lambda c, q: f"```json\n{_object(c, q)}\n```"),
    "lone": _each(_empty_tag),
    **{name: _native(name) for name in NATIVE_NOTATIONS},
}
