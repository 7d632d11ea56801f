"""Defines the notations in which open models were trained to call tools. No I/O.

The rows are data; the module `native_reader` reads all of them. Words are in lower case. In them
`|` also stands for the full-width bar, and `_` for the sign `▁` of tokenizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParameterForm:
    """Describes how a notation writes one argument as text: opener, name, separator, value, end.

    opens: what comes before the name.
    separators: what may come behind the name. The value says whether the argument is JSON; if
        not, it is the text itself.
    closes: what ends the value.
    value_opens: what comes before the value, behind white space.
    padded: whether a line end at both ends of the value does not belong to it.
    """

    opens: str
    separators: Mapping[str, bool]
    closes: str
    value_opens: str = ""
    padded: bool = False


@dataclass(frozen=True, slots=True)
class NativeNotation:
    """Describes how models of one family write calls. White space may stand between the words.

    models: the families of models, for the documentation.
    opens: the words before the name of the tool, or before the JSON object that has the name.
    closes: the words behind a call; only the first of them must be there.
    sections: the words that may begin a block of calls. section_ends: what may end it.
    needs_section: whether a call counts only within such a block.
    named: whether the name is written before the arguments. If not, a JSON object, or a list of
        them, has the name and the arguments.
    separators: the words that may follow the name, in this order.
    label: what begins an id behind the name.
    parameters: how arguments are written one by one. A JSON object in their place is read too.
    joiner: what separates JSON objects.
    """

    models: str
    opens: tuple[str, ...]
    closes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    section_ends: tuple[str, ...] = ()
    needs_section: bool = False
    named: bool = True
    separators: tuple[str, ...] = ()
    label: str = ""
    parameters: ParameterForm | None = None
    joiner: str = ""

    @property
    def beginnings(self) -> tuple[str, ...]:
        """Return the words with which a block of this notation may begin."""
        return self.sections if self.needs_section else (*self.sections, self.opens[0])


def _attribute(tag: str, **flags: bool) -> ParameterForm:
    """Return the form of an element that has its name in the attribute `name`."""
    separators = {f'" string="{word}">': is_json for word, is_json in flags.items()}
    return ParameterForm(f'<{tag} name="', {**separators, '">': False}, f"</{tag}>")


def _pairs(prefix: str = "") -> ParameterForm:
    """Return the form of a name and a value in elements of their own."""
    return ParameterForm(
        f"<{prefix}arg_key>",
        {f"</{prefix}arg_key>": False},
        f"</{prefix}arg_value>",
        value_opens=f"<{prefix}arg_value>",
    )


_SECTION = ("<|tool_calls_begin|>",)
_SECTION_END = ("<|tool_calls_end|>",)

NATIVE_NOTATIONS: tuple[NativeNotation, ...] = (
    NativeNotation(
        "Step 3",
        opens=("<|tool_call_begin|>", "function", "<|tool_sep|>", '<steptml:invoke name="'),
        separators=('">',),
        parameters=_attribute("steptml:parameter"),
        closes=("</steptml:invoke>", "<|tool_call_end|>"),
        sections=_SECTION,
        section_ends=_SECTION_END,
    ),
    NativeNotation(
        "DeepSeek V3, DeepSeek R1",
        opens=("<|tool_call_begin|>", "function", "<|tool_sep|>"),
        closes=("<|tool_call_end|>",),
        sections=_SECTION,
        section_ends=_SECTION_END,
    ),
    NativeNotation(
        "DeepSeek V3.1",
        opens=("<|tool_call_begin|>",),
        separators=("<|tool_sep|>",),
        closes=("<|tool_call_end|>",),
        sections=_SECTION,
        section_ends=_SECTION_END,
    ),
    NativeNotation(
        "DeepSeek V3.2, DeepSeek V4 (DSML)",
        opens=('<|dsml|invoke name="',),
        separators=('">',),
        parameters=_attribute("|dsml|parameter", true=False, false=True),
        closes=("</|dsml|invoke>",),
        sections=("<|dsml|function_calls>", "<|dsml|tool_calls>"),
        section_ends=("</|dsml|function_calls>", "</|dsml|tool_calls>"),
    ),
    NativeNotation(
        "Kimi K2",
        opens=("<|tool_call_begin|>",),
        separators=("<|tool_call_argument_begin|>",),
        closes=("<|tool_call_end|>",),
        sections=("<|tool_calls_section_begin|>", "<|tool_call_section_begin|>"),
        section_ends=("<|tool_calls_section_end|>", "<|tool_call_section_end|>"),
    ),
    NativeNotation(
        "Qwen3-Coder, Step 3.5, MiMo, Seed-OSS, Llama 3.1",
        opens=("<function=",),
        separators=(">",),
        parameters=ParameterForm("<parameter=", {">": False}, "</parameter>", padded=True),
        closes=("</function>",),
        sections=("<tool_call>", "<seed:tool_call>"),
        section_ends=("</tool_call>", "</seed:tool_call>"),
    ),
    NativeNotation(
        "GLM-4.5, GLM-4.6, GLM-4.7, Hunyuan 3",
        opens=("<tool_call>",),
        separators=("<tool_sep>",),
        parameters=_pairs(),
        closes=("</tool_call>",),
        sections=("<tool_calls>",),
        section_ends=("</tool_calls>",),
    ),
    NativeNotation(
        "LongCat",
        opens=("<longcat_tool_call>",),
        parameters=_pairs("longcat_"),
        closes=("</longcat_tool_call>",),
    ),
    NativeNotation(
        "LongCat",
        opens=("<longcat_tool_call>",),
        named=False,
        closes=("</longcat_tool_call>",),
    ),
    NativeNotation(
        "MiniMax M2",
        opens=('<invoke name="',),
        separators=('">',),
        parameters=_attribute("parameter"),
        closes=("</invoke>",),
        sections=("<minimax:tool_call>",),
        section_ends=("</minimax:tool_call>",),
        needs_section=True,
    ),
    NativeNotation(
        "Mistral (version 11 and later)",
        opens=("[tool_calls]",),
        separators=("[args]",),
        label="[call_id]",
    ),
    NativeNotation("Mistral", opens=("[tool_calls]",), named=False),
    NativeNotation("Llama 3", opens=("<|python_tag|>",), named=False, joiner=";"),
    NativeNotation(
        "gpt-oss",
        opens=("<|channel|>", "commentary", "to="),
        separators=("<|constrain|>", "json", "<|message|>"),
        closes=("<|call|>",),
        sections=("<|start|>assistant",),
    ),
    NativeNotation(
        "gpt-oss",
        opens=("<|start|>assistant", "to="),
        separators=("<|channel|>", "commentary", "<|constrain|>", "json", "<|message|>"),
        closes=("<|call|>",),
    ),
    NativeNotation(
        "Command R", opens=("<|start_action|>",), named=False, closes=("<|end_action|>",)
    ),
    NativeNotation("Phi-4 mini", opens=("<|tool_call|>",), named=False, closes=("<|/tool_call|>",)),
    NativeNotation("Granite 3", opens=("<|tool_call|>",), named=False),
    NativeNotation(
        "InternLM",
        opens=("<|action_start|>", "<|plugin|>"),
        named=False,
        closes=("<|action_end|>",),
    ),
    NativeNotation("Nemotron", opens=("<toolcall>",), named=False, closes=("</toolcall>",)),
)
