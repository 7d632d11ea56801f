"""Registers chat scenarios, and finds the marker in a prompt that selects one.

A scenario is an async function registered with `@scenario`. Its keyword-only parameters are the
arguments a marker may give: `[[count n=3]]` calls `count(turn, n=3)`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from emulator.answer import EmulatedAnswer
from emulator.prompt import Prompt
from emulator.state import EmulatorState

_MARKER = re.compile(r"\[\[([a-z][a-z0-9_]*)((?:[ \t]+[a-z_]+=[^\s\[\]]*)*)[ \t]*\]\]")


@dataclass
class ScenarioTurn:
    """Holds what a scenario works with: the parsed request, and the answer to write."""

    state: EmulatorState
    inputs: str
    prompt: Prompt
    meta: dict[str, Any]
    answer: EmulatedAnswer

    def attempt(self) -> int:
        """Count this call: 1 for the first with exactly this prompt, 2 for the second, ..."""
        return self._count(self.inputs)

    def ask(self) -> int:
        """Return the same, but whatever stands in the prompt before the last user block."""
        return self._count("ask:" + self.prompt.last_user)

    def _count(self, text: str) -> int:
        key = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        self.state.attempts[key] += 1
        return self.state.attempts[key]


@dataclass(frozen=True)
class Scenario:
    """Describes a registered scenario: its function, and the type and default of each argument."""

    name: str
    run: Callable[..., Awaitable[None]]
    types: dict[str, Any]
    defaults: dict[str, Any]

    @property
    def summary(self) -> str:
        """Return the first line of its docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    @property
    def usage(self) -> str:
        """Return its marker with every argument, as `name arg=default`."""
        words = [f"{name}={_shown(self.types[name], d)}" for name, d in self.defaults.items()]
        return " ".join([self.name, *words])


class BadMarker(ValueError):
    """Reports that a marker names a known scenario but gives it arguments it cannot use."""


SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Register an async function `(turn, *, arguments)` under its own name."""
    name = run.__name__
    hints = get_type_hints(run)
    parameters = inspect.signature(run).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    types = {key: hints[key] for key in defaults}
    SCENARIOS[name] = Scenario(name, run, types, defaults)
    return run


def find_marker(text: str) -> tuple[Scenario, dict[str, Any]] | str | None:
    """Return the scenario and the arguments that the first marker in `text` selects.

    A marker with an unknown name is returned as that name: brackets are also just text.
    None means there is no marker. Raises BadMarker for arguments the scenario does not take.
    """
    match = _MARKER.search(text)
    if match is None:
        return None
    known = SCENARIOS.get(match[1])
    if known is None:
        return match[1]
    words = [word.partition("=") for word in match[2].split()]
    return known, {key: _converted(known, key, value) for key, _, value in words}


def _converted(known: Scenario, key: str, value: str) -> Any:
    if key not in known.types:
        raise BadMarker(f"unknown argument {key!r}; the marker is [[{known.usage}]]")
    wanted = known.types[key]
    value = unquote(value)
    try:
        if get_origin(wanted) is Literal:
            return get_args(wanted)[get_args(wanted).index(value)]
        convert = next(t for t in (get_args(wanted) or (wanted,)) if t is not type(None))
        return convert(value)
    except ValueError:
        raise BadMarker(f"{key}={value} does not fit; the marker is [[{known.usage}]]") from None


def _shown(wanted: Any, default: Any) -> str:
    if get_origin(wanted) is Literal:
        return "|".join(get_args(wanted))
    return "" if default is None else str(default)
