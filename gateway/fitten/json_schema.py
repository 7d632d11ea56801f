"""Reads the JSON schemas of clients: bounded work, references, values that are allowed. No I/O.

A schema comes from a client, and it is not trusted. A short one can ask for endless work: each of
its references may lead to two more. Or it has a long list of values, and each value of the answer
is compared with all of them. So everything that reads a schema counts its steps, and stops at a
limit. What was prepared of a part of the schema is kept, since many values meet the same part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

MAX_STEPS = 10_000
"""The most steps for all schemas of one answer; a step takes about two microseconds."""

MAX_DEPTH = 64

_CHEAP = 16  # values that are looked at or compared in C, in the time of a step

_T = TypeVar("_T")


class StepsExceeded(Exception):
    """Reports that a schema asks for too many steps, or is nested too deeply."""


class StepCounter:
    """Counts the steps that the schemas of one answer cost.

    exceeded: whether some of them were not checked because of the limit.
    """

    def __init__(self, most: int = MAX_STEPS) -> None:
        self._left = most
        self.exceeded = False

    def spend(self, steps: int = 1) -> None:
        """Count steps. Raises StepsExceeded when there were too many."""
        self._left -= steps
        if self._left < 0:
            self.fail()

    def spend_cheap(self, values: int) -> None:
        """Count values that are only looked at. Raises StepsExceeded when there were too many."""
        self.spend(values // _CHEAP)

    def spend_value(self, value: Any, times: int = 1) -> None:
        """Count the comparisons of a value with so many others."""
        if times and isinstance(value, (list, dict)):
            self.spend(times * (1 + self._size(value) // _CHEAP))

    def fail(self) -> None:
        """Raise StepsExceeded, and remember it."""
        self.exceeded = True
        raise StepsExceeded

    def _size(self, value: Any) -> int:
        """Return how many values the value consists of."""
        size, stack = 0, [value]
        while stack:
            value = stack.pop()
            inner: Sequence[Any] = ()
            if isinstance(value, dict):
                inner = list(value.values())
            elif isinstance(value, list):
                inner = value
            size += len(inner)
            self.spend(1 + len(inner) // _CHEAP)
            stack += [one for one in inner if isinstance(one, (list, dict))]
        return size


class SchemaParts(Generic[_T]):
    """Keeps what was prepared of each part of one schema, so that each is prepared once.

    root: the whole schema, in which references are resolved. It must not change any more.
    prepare: prepares a part.
    """

    def __init__(self, root: Any, prepare: Callable[[dict[str, Any]], _T]) -> None:
        self._root = root
        self._prepare = prepare
        self._parts: dict[int, _T] = {}  # by the id of the part, which the root keeps alive
        self._targets: dict[str, Any] = {}

    def part(self, schema: dict[str, Any]) -> _T:
        """Return what was prepared of a part of the schema."""
        found = self._parts.get(id(schema))
        if found is None:
            found = self._parts[id(schema)] = self._prepare(schema)
        return found

    def resolve(self, pointer: str, steps: StepCounter) -> Any:
        """Return the part of the schema that a $ref points to (RFC 6901).

        Returns True, which every value fits, for any other reference: nothing is fetched.
        Raises StepsExceeded.
        """
        if pointer != "#" and not pointer.startswith("#/"):
            return True
        found = self._targets.get(pointer)
        if found is None:
            steps.spend_cheap(len(pointer))
            found = self._targets[pointer] = self._find(pointer)
        return found

    def _find(self, pointer: str) -> Any:
        found = self._root
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
                found = found[int(name[:9])]
            else:
                return True
        return True if found is None else found


class AllowedValues:
    """Holds the values of an `enum` or `const`; to find a scalar takes one look."""

    def __init__(self, values: Sequence[Any], steps: StepCounter) -> None:
        steps.spend_cheap(len(values))
        self._scalars = {_key(one) for one in values if not isinstance(one, (list, dict))}
        self._others = [one for one in values if isinstance(one, (list, dict))]

    def has(self, value: Any, steps: StepCounter) -> bool:
        """Return whether a value is among them. Raises StepsExceeded."""
        if isinstance(value, (list, dict)):
            steps.spend_value(value, len(self._others))
            return value in self._others
        return _key(value) in self._scalars


def _key(value: Any) -> Any:
    """Return what tells scalars apart: in JSON, true is not 1, but 1 is 1.0."""
    return ("boolean", value) if isinstance(value, bool) else value
