"""Writes calls in the notations in which open models were trained to call tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeGuard, get_args

from emulator.scenarios.tool_use import MadeCall

NativeNotation = Literal[
    "deepseek_v3",
    "deepseek_v31",
    "deepseek_dsml",
    "deepseek_v4",
    "qwen3_coder",
    "qwen3_coder_bare",
    "glm",
    "hunyuan",
    "kimi_k2",
    "llama3_function",
    "llama3_python_tag",
    "mistral",
    "mistral_args",
    "command_r",
    "granite",
    "phi4_mini",
    "minimax_m2",
    "gpt_oss",
    "internlm",
    "longcat",
    "longcat_json",
    "seed_oss",
    "step3",
    "nemotron",
]
NATIVE_NOTATIONS: tuple[NativeNotation, ...] = get_args(NativeNotation)

_Writer = Callable[[Sequence[MadeCall]], str]

RAW_NOTATIONS: frozenset[NativeNotation] = frozenset(
    (
        "deepseek_dsml",
        "qwen3_coder",
        "qwen3_coder_bare",
        "glm",
        "hunyuan",
        "minimax_m2",
        "longcat",
        "seed_oss",
        "step3",
    )
)
"""The notations that write arguments as text, which ends at a word that the text must not have."""


_NEED_THEIR_END = ("qwen3_coder_bare", "glm", "longcat")


def is_native(notation: str) -> TypeGuard[NativeNotation]:
    """Return whether this is one of these notations."""
    return notation in NATIVE_NOTATIONS


def written_native(
    calls: Sequence[MadeCall], notation: NativeNotation, *, literals: bool = False
) -> str:
    """Return the text of a block that makes these calls.

    literals: whether numbers, lists and the like are written as text in JSON.
    """
    if literals:
        calls = [MadeCall(c.tool, {k: _text(v) for k, v in c.arguments.items()}) for c in calls]
    return _WRITERS[notation](calls)


def without_end(text: str, notation: NativeNotation) -> str:
    """Return a block without the word that ends it, if the last call is whole without it."""
    if notation in _NEED_THEIR_END or not text.endswith(">"):
        return text
    return text[: text.rindex("<")]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _objects(calls: Sequence[MadeCall], name: str = "name", arguments: str = "arguments") -> str:
    return ", ".join(_json({name: call.tool, arguments: call.arguments}) for call in calls)


def _each(write: Callable[[MadeCall], str], between: str = "\n") -> _Writer:
    return lambda calls: between.join(map(write, calls))


def _section(begin: str, write: Callable[[MadeCall], str], end: str, between: str = "") -> _Writer:
    return lambda calls: begin + between.join(map(write, calls)) + end


def _deepseek_v3(call: MadeCall) -> str:
    return (
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{call.tool}\n"
        f"```json\n{_json(call.arguments)}\n```<｜tool▁call▁end｜>"
    )


def _deepseek_v31(call: MadeCall) -> str:
    return (
        f"<｜tool▁call▁begin｜>{call.tool}<｜tool▁sep｜>{_json(call.arguments)}<｜tool▁call▁end｜>"
    )


def _dsml(call: MadeCall) -> str:
    lines = [
        f'<｜DSML｜parameter name="{name}" string="{_json(isinstance(value, str))}">'
        f"{_text(value)}</｜DSML｜parameter>"
        for name, value in call.arguments.items()
    ]
    return "\n".join([f'<｜DSML｜invoke name="{call.tool}">', *lines, "</｜DSML｜invoke>"])


def _dsml_json(call: MadeCall) -> str:
    return f'<｜DSML｜invoke name="{call.tool}">\n{_json(call.arguments)}\n</｜DSML｜invoke>'


def _function(call: MadeCall) -> str:
    lines = [
        f"<parameter={name}>\n{_text(value)}\n</parameter>"
        for name, value in call.arguments.items()
    ]
    return "\n".join([f"<function={call.tool}>", *lines, "</function>"])


def _pairs(call: MadeCall, *, prefix: str = "", separator: str = "") -> str:
    lines = [
        f"<{prefix}arg_key>{name}</{prefix}arg_key>\n"
        f"<{prefix}arg_value>{_text(value)}</{prefix}arg_value>"
        for name, value in call.arguments.items()
    ]
    head = f"<{prefix}tool_call>{call.tool}{separator}"
    return "\n".join([head, *lines, f"</{prefix}tool_call>"])


def _attributes(call: MadeCall, *, prefix: str = "") -> str:
    lines = [
        f'<{prefix}parameter name="{name}">{_text(value)}</{prefix}parameter>'
        for name, value in call.arguments.items()
    ]
    return "\n".join([f'<{prefix}invoke name="{call.tool}">', *lines, f"</{prefix}invoke>"])


def _step3(call: MadeCall) -> str:
    invoke = _attributes(call, prefix="steptml:")
    return f"<｜tool_call_begin｜>function<｜tool_sep｜>{invoke}<｜tool_call_end｜>"


def _kimi_k2(calls: Sequence[MadeCall]) -> str:
    blocks = [
        f"<|tool_call_begin|>functions.{call.tool}:{number}"
        f"<|tool_call_argument_begin|>{_json(call.arguments)}<|tool_call_end|>"
        for number, call in enumerate(calls)
    ]
    return f"<|tool_calls_section_begin|>{''.join(blocks)}<|tool_calls_section_end|>"


def _gpt_oss(call: MadeCall) -> str:
    return (
        f"<|channel|>commentary to=functions.{call.tool} <|constrain|>json"
        f"<|message|>{_json(call.arguments)}<|call|>"
    )


def _command_r(calls: Sequence[MadeCall]) -> str:
    items = [
        {"tool_call_id": str(number), "tool_name": call.tool, "parameters": call.arguments}
        for number, call in enumerate(calls)
    ]
    return f"<|START_ACTION|>{json.dumps(items, ensure_ascii=False, indent=4)}<|END_ACTION|>"


def _python_tag(calls: Sequence[MadeCall]) -> str:
    objects = [_json({"name": call.tool, "parameters": call.arguments}) for call in calls]
    return f"<|python_tag|>{'; '.join(objects)}"


_WRITERS: dict[NativeNotation, _Writer] = {
    "deepseek_v3": _section("<｜tool▁calls▁begin｜>", _deepseek_v3, "<｜tool▁calls▁end｜>", "\n"),
    "deepseek_v31": _section("<｜tool▁calls▁begin｜>", _deepseek_v31, "<｜tool▁calls▁end｜>"),
    "deepseek_dsml": _section(
        "<｜DSML｜function_calls>\n", _dsml, "\n</｜DSML｜function_calls>", "\n"
    ),
    "deepseek_v4": _section("<｜DSML｜tool_calls>\n", _dsml_json, "\n</｜DSML｜tool_calls>", "\n"),
    "qwen3_coder": _each(lambda call: f"<tool_call>\n{_function(call)}\n</tool_call>"),
    "qwen3_coder_bare": _each(_function),
    "glm": _each(_pairs),
    "hunyuan": _section(
        "<tool_calls>\n",
        lambda call: _pairs(call, separator="<tool_sep>"),
        "\n</tool_calls>",
        "\n",
    ),
    "kimi_k2": _kimi_k2,
    "llama3_function": _each(lambda c: f"<function={c.tool}>{_json(c.arguments)}</function>", ""),
    "llama3_python_tag": _python_tag,
    "mistral": lambda calls: f"[TOOL_CALLS] [{_objects(calls)}]",
    "mistral_args": _each(lambda c: f"[TOOL_CALLS]{c.tool}[ARGS]{_json(c.arguments)}", ""),
    "command_r": _command_r,
    "granite": lambda calls: f"<|tool_call|>[{_objects(calls)}]",
    "phi4_mini": lambda calls: f"<|tool_call|>[{_objects(calls)}]<|/tool_call|>",
    "minimax_m2": _section("<minimax:tool_call>\n", _attributes, "\n</minimax:tool_call>", "\n"),
    "gpt_oss": _each(_gpt_oss, "<|start|>assistant"),
    "internlm": _each(
        lambda c: (
            f"<|action_start|><|plugin|>\n{_objects([c], arguments='parameters')}<|action_end|>"
        ),
        "\n",
    ),
    "longcat": _each(lambda call: _pairs(call, prefix="longcat_")),
    "longcat_json": _each(lambda c: f"<longcat_tool_call>\n{_objects([c])}\n</longcat_tool_call>"),
    "seed_oss": _section("<seed:tool_call>\n", _function, "\n</seed:tool_call>", "\n"),
    "step3": _section("<｜tool_calls_begin｜>", _step3, "<｜tool_calls_end｜>"),
    "nemotron": lambda calls: f"<TOOLCALL>[{_objects(calls)}]</TOOLCALL>",
}
