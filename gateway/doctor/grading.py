"""Compares the answer to a turn with what the turn should lead to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.doctor.tool_cases import TOOLS, ExpectedCall, ToolCase

_TYPES: dict[str, type] = {"string": str, "array": list, "object": dict}
_SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}


@dataclass(frozen=True, slots=True)
class SeenAnswer:
    """Holds an answer: its calls, each with the JSON text of its arguments, and its text."""

    calls: Sequence[tuple[str, str]]
    text: str


@dataclass(frozen=True, slots=True)
class Grade:
    """Says how good an answer is.

    valid: exactly the wanted tools were called, with the arguments that each requires.
    exact: besides, every argument is the wanted one, byte by byte.
    false_calls: how many calls were not wanted.
    answered: an answer in text was wanted, and it has what was asked for.
    """

    valid: bool = False
    exact: bool = False
    false_calls: int = 0
    answered: bool = False


def grade(case: ToolCase, answer: SeenAnswer) -> Grade:
    """Compare an answer with the case it belongs to."""
    calls = [(name, _parsed(arguments)) for name, arguments in answer.calls]
    if not case.calls:
        text = answer.text.casefold()
        answered = not calls and any(word.casefold() in text for word in case.says)
        return Grade(false_calls=len(calls), answered=answered)
    pairs, false_calls = _paired(case.calls, calls)
    whole = len(pairs) == len(case.calls) and not false_calls
    valid = whole and all(_is_usable(wanted.tool, made) for wanted, made in pairs)
    exact = valid and all(same(made, wanted.arguments) for wanted, made in pairs)
    return Grade(valid=valid, exact=exact, false_calls=false_calls)


def same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are the same; unlike in Python, `true` is not 1."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return None


def _paired(
    wanted: Sequence[ExpectedCall], made: Sequence[tuple[str, Any]]
) -> tuple[list[tuple[ExpectedCall, Any]], int]:
    """Return each wanted call with the arguments made for it, and how many calls are left over.

    Calls may come in any order, so the exact ones are paired first.
    """
    left, missing = list(made), list(wanted)
    pairs = []
    for by_arguments in (True, False):
        for call in list(missing):
            for name, arguments in left:
                if name == call.tool and (not by_arguments or same(arguments, call.arguments)):
                    pairs.append((call, arguments))
                    left.remove((name, arguments))
                    missing.remove(call)
                    break
    return pairs, len(left)


def _is_usable(tool: str, arguments: Any) -> bool:
    """Return whether the arguments are an object with all that the tool requires, of its types."""
    if not isinstance(arguments, Mapping):
        return False
    schema = _SCHEMAS[tool]
    return all(
        isinstance(arguments.get(name), _TYPES[schema["properties"][name]["type"]])
        for name in schema["required"]
    )
