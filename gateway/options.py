"""Reads typed options: plain data from a file -> frozen dataclasses or a factory's arguments.

The annotation of a field is the rule for its value. Wrong data raises nothing: each mistake
is noted under its path, so that all of them can be reported at once.
"""

from __future__ import annotations

import dataclasses
import decimal
import inspect
import re
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import unquote, urlsplit

from gateway.redaction import MASK, kind_of, masked_name, word
from gateway.trusted_proxies import parse_network


class Mistakes(dict[str, str]):
    """Holds what is wrong with the data, by path.

    `warnings` holds by path what works, but is probably not what the operator wants.
    """

    def __init__(self) -> None:
        super().__init__()
        self.warnings: dict[str, str] = {}


class ConfigError(Exception):
    """Reports that the configuration is wrong; `mistakes` has one line for each mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Secret:
    """Holds a secret text; `repr` and `str` show a mask, only `value` gives the text."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


@dataclasses.dataclass(frozen=True, slots=True)
class Between:
    """Limits a number to the range from `low` to `high`, both included.

    unit: what is counted, such as "seconds". example: a usual number of them.
    """

    low: float
    high: float
    unit: str = ""
    example: int | None = None

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        if self.low <= value <= self.high:
            return None
        unit = f" {self.unit}" if self.unit else ""
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        return f"{shown} is out of bounds; allowed: {self.low} to {self.high}{unit}"


_SUFFIXED = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([km])", re.IGNORECASE)
_FACTORS = {"k": 1_000, "m": 1_000_000}

SHOWN_IF_SET = {"shown": "if set"}
"""Metadata of a dataclass's field that plain data leaves out when it is None."""


@dataclasses.dataclass(frozen=True, slots=True)
class Amount:
    """Limits a number to 0 to `high`. It may end in `k` or `m`: `500k`, `1.5m`."""

    high: int

    def convert(self, data: Any) -> Any:
        """Return the number that a text with a suffix stands for, anything else unchanged."""
        match = _SUFFIXED.fullmatch(data) if isinstance(data, str) else None
        if match is None:
            return data
        number = decimal.Decimal(match[1]) * _FACTORS[match[2].lower()]
        return int(number) if number == int(number) else data

    def fault(self, value: int) -> str | None:
        """Return what is wrong with a value, or None."""
        return Between(0, self.high).fault(value)


@dataclasses.dataclass(frozen=True, slots=True)
class IpNetwork:
    """Requires a network of IP addresses, or one address."""

    def fault(self, value: str) -> str | None:
        """Return what is wrong with a value, or None."""
        try:
            parse_network(value)
        except ValueError:
            return f"'{word(value)}' is not a network like 10.0.0.0/8, or an address"
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class HttpUrl:
    """Requires an http or https address without a query.

    A user name and a password within it must fit HTTP's Basic authentication.
    """

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None. A secret or other text is not shown."""
        import yarl  # only for an address: the commands of operators have none

        text = value.value if isinstance(value, Secret) else value
        scheme, _, rest = text.partition("://")
        try:
            parts = urlsplit(text)
            good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
            yarl.URL(text)  # the rules of the library that uses it
        except ValueError:  # UnicodeError too
            good = False
        unfit = any(c in "?#" or c.isspace() or not c.isprintable() for c in rest)
        if good and scheme in ("http", "https") and not unfit:
            return _credentials_fault(parts.username or "", parts.password or "")
        shown = value if isinstance(value, Secret) else f"'{word(text)}'"
        return f"{shown} is not an address like https://example.org"


def _credentials_fault(username: str, password: str) -> str | None:
    """Return why Basic authentication cannot carry a name and a password from an address."""
    if ":" in unquote(username):
        return "the user name in the address has a colon, which Basic authentication forbids"
    for what, written in (("user name", username), ("password", password)):
        if any(ord(c) > 0xFF for c in unquote(written)):
            return (
                f"the {what} in the address has characters beyond Latin-1 (U+00FF), "
                "which Basic authentication cannot carry"
            )
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Distinct:
    """Requires a list that has no two items with the same attribute.

    what: the name of an item in messages. by: the attribute.
    may_be_empty: whether a list without items is right.
    """

    what: str
    by: str
    may_be_empty: bool = False

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a list, or None."""
        if not value and not self.may_be_empty:
            return f"no {self.what} given; at least one is needed"
        names = [getattr(item, self.by) for item in value]
        twice = [i for i, name in enumerate(names) if name in names[:i]]
        if not twice:
            return None
        return f"{self.what} {twice[0] + 1} has the same {self.by} as an earlier one"


class _Unset:
    """Represents a value that could not be read and whose mistake is noted already."""

    def __repr__(self) -> str:
        return "(unset)"


UNSET = _Unset()


def read_value(kind: Any, data: Any, path: str, mistakes: Mistakes) -> Any:
    """Convert `data` to the type of the annotation `kind`; UNSET with a mistake noted if wrong.

    Known annotations: str (never empty), int, float, bool, Secret, Literal, `X | None`,
    `list[X]`, `tuple[X, ...]`, `dict[str, X]`, dataclasses, `Any`, and Annotated.
    A dataclass of which nothing is given has its defaults. The rules of an Annotated have a
    method `fault`, which returns what is wrong with a value, or None. They may have three
    more. `convert` returns the data in the form of the type, or unchanged. `item_faults` returns
    what is wrong within a list, by path from there. `warning` returns what is probably not
    meant, or None.
    """
    if data is UNSET or kind is Any:
        return data
    origin = get_origin(kind)
    if origin is Annotated:
        return _read_annotated(kind, data, path, mistakes)
    if origin in (Union, types.UnionType):
        others = [arg for arg in get_args(kind) if arg is not type(None)]
        if data is None and len(others) < len(get_args(kind)):
            return None
        return read_value(others[0], data, path, mistakes)
    if origin is Literal:
        return _read_literal(get_args(kind), data, path, mistakes)
    if origin in (list, tuple):
        return _read_sequence(origin, get_args(kind)[0], data, path, mistakes)
    if origin is dict:
        return _read_names(get_args(kind)[1], data, path, mistakes)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        fields = {f.name: f for f in dataclasses.fields(kind)}
        hints = get_type_hints(kind, include_extras=True)
        required = {
            name
            for name, f in fields.items()
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        data = {} if data is None else data
        given = _read_mapping({n: hints[n] for n in fields}, required, {}, data, path, mistakes)
        return UNSET if given is UNSET else kind(**given)
    return _read_scalar(kind, data, path, mistakes)


def read_arguments(
    factory: Callable[..., Any], data: Any, path: str, mistakes: Mistakes
) -> dict[str, Any]:
    """Read the keyword-only arguments of a factory from a mapping of options.

    Options that are not given have the factory's defaults. When something is wrong, the
    mistakes are noted and the result is empty.
    """
    target = factory.__init__ if inspect.isclass(factory) else factory
    hints = get_type_hints(target, include_extras=True)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    required = {n for n, p in parameters.items() if p.default is p.empty}
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    kinds = {name: hints.get(name, Any) for name in parameters}
    given = _read_mapping(kinds, required, defaults, {} if data is None else data, path, mistakes)
    return {} if given is UNSET else given


def as_plain_data(value: Any) -> Any:
    """Return a value as plain data for printing, secrets masked."""
    if isinstance(value, Secret):
        return repr(value)
    if dataclasses.is_dataclass(value):
        return {
            f.name: as_plain_data(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.metadata != SHOWN_IF_SET or getattr(value, f.name) is not None
        }
    if isinstance(value, (list, tuple)):
        return [as_plain_data(item) for item in value]
    if isinstance(value, dict):
        return {key: as_plain_data(item) for key, item in value.items()}
    return value


def _read_mapping(
    kinds: dict[str, Any],
    required: set[str],
    defaults: dict[str, Any],
    data: Any,
    path: str,
    mistakes: Mistakes,
) -> Any:
    if not isinstance(data, dict):
        mistakes[path] = f"expected a mapping, not {kind_of(data)}"
        return UNSET
    prefix = f"{path}." if path else ""
    known = ", ".join(kinds) or "none"
    for name in data:
        if name not in kinds:
            mistakes[f"{prefix}{masked_name(name)}"] = (
                f"unknown option;{did_you_mean(name, kinds)} known: {known}"
            )
    values = dict(defaults)
    for name, kind in kinds.items():
        if name in data:
            values[name] = read_value(kind, data[name], f"{prefix}{name}", mistakes)
        elif name in required:
            mistakes.setdefault(f"{prefix}{name}", "is missing")
            values[name] = UNSET
    if any(value is UNSET for value in values.values()):
        return UNSET
    return values


def _read_annotated(kind: Any, data: Any, path: str, mistakes: Mistakes) -> Any:
    inner, *rules = get_args(kind)
    for rule in rules:
        if hasattr(rule, "convert"):
            data = rule.convert(data)
    value = read_value(inner, data, path, mistakes)
    for rule in rules:
        if value is UNSET and isinstance(rule, Between) and rule.unit and path in mistakes:
            expected = f"expected {_NAMES[inner]}"
            more = f"{expected} of {rule.unit}, e.g. {rule.example}"
            mistakes[path] = mistakes[path].replace(expected, more)
        if value is UNSET and isinstance(rule, Amount) and path in mistakes:
            mistakes[path] += "; write it like 600, 500k or 1.5m"
        if value is UNSET or value is None:
            continue
        if fault := rule.fault(value):
            mistakes[path] = fault
            return UNSET
        found = rule.item_faults(value) if hasattr(rule, "item_faults") else {}
        for place, fault in found.items():
            mistakes[path + place] = fault
        if hasattr(rule, "warning") and (warning := rule.warning(value)):
            mistakes.warnings[path] = warning
    return value


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """Return a question with the known name that is most like another one, or ""."""
    import difflib  # only for a mistake

    found = difflib.get_close_matches(str(name).lower()[:64], known, n=1)
    return f" did you mean {found[0]}?" if found else ""


def _read_literal(allowed: tuple[Any, ...], data: Any, path: str, mistakes: Mistakes) -> Any:
    if data in allowed:
        return data
    shown = repr(data)
    if isinstance(data, bool):
        shown = f"{str(data).lower()} (as yes, no, on and off are read without quotes)"
    elif isinstance(data, str):
        shown = f"'{word(data, longest=12)}'"
    elif isinstance(data, (list, tuple, dict)):
        shown = kind_of(data)
    question = did_you_mean(data, map(str, allowed)) if isinstance(data, str) else ""
    mistakes[path] = f"{shown} is not known;{question} allowed: {', '.join(map(str, allowed))}"
    return UNSET


def _read_sequence(origin: type, item: Any, data: Any, path: str, mistakes: Mistakes) -> Any:
    if not isinstance(data, (list, tuple)):
        hint = "; begin each item with '- '" if isinstance(data, (str, dict)) else ""
        mistakes[path] = f"expected a list, not {kind_of(data)}{hint}"
        return UNSET
    values = [read_value(item, value, f"{path}[{i}]", mistakes) for i, value in enumerate(data)]
    return UNSET if any(value is UNSET for value in values) else origin(values)


def _read_names(item: Any, data: Any, path: str, mistakes: Mistakes) -> Any:
    """Read a mapping whose names the operator chooses."""
    if not isinstance(data, dict):
        mistakes[path] = f"expected a mapping, not {kind_of(data)}"
        return UNSET
    values = {str(n): read_value(item, value, f"{path}.{n}", mistakes) for n, value in data.items()}
    return UNSET if any(value is UNSET for value in values.values()) else values


def _read_scalar(kind: Any, data: Any, path: str, mistakes: Mistakes) -> Any:
    text = data if isinstance(data, str) else None
    number = isinstance(data, (int, float)) and not isinstance(data, bool)
    if kind in (str, Secret) and text is not None:
        if text:
            return kind(text)
        mistakes[path] = "must not be empty"
        return UNSET
    if kind is bool and isinstance(data, bool):
        return data
    if kind is bool and text in ("true", "false"):  # from the environment
        return text == "true"
    if kind in (int, float) and (number or text is not None):
        try:
            value = kind(data)
        except (ValueError, OverflowError):
            value = None
        if value is not None and (text is not None or value == data) and value == value:
            return value
    quotes = " (write it in quotes if it is text)"
    hint = quotes if kind in (str, Secret) and isinstance(data, bool) else ""
    mistakes[path] = f"expected {_NAMES.get(kind, kind)}, not {kind_of(data)}{hint}"
    return UNSET


_NAMES = {
    str: "text",
    Secret: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
