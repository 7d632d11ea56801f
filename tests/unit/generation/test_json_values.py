"""Values are counted before they are decoded; nothing in a string counts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.generation.json_values import MAX_VALUES, TooManyValues, count_strings, decode, exceeds
from tests.counting import calls_of

TEXTS = st.text(alphabet='a",\\[]{}:é\n', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def units(value: Any) -> tuple[int, int]:
    """Return the strings of a value, and all that it counts, found one by one."""
    if isinstance(value, str):
        return 1, 1
    if isinstance(value, (bool, float)):
        text = json.dumps(value)
        return 0, 2 * (text.count(".") + text.count("e"))
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [part for member in value.items() for part in member]
    elif isinstance(value, list):
        inner = value
    counted = [units(one) for one in inner]
    strings, total = sum(s for s, _ in counted), sum(t for _, t in counted)
    if isinstance(value, (dict, list)):
        total += (3 if isinstance(value, dict) else 1) + max(0, len(value) - 1)
    return strings, total


@given(JSON, st.booleans())
def test_the_count_is_exact(value: Any, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    strings, total = units(value)
    assert count_strings(raw) == strings
    assert not exceeds(raw, total)
    assert total == 0 or 3 * len(raw) < total or exceeds(raw, total - 1)


@pytest.mark.parametrize("part", [b"[]", b"{}", b"1", b'"a"', b"null", b"[[[[]]]]", b'{"a":0}'])
def test_a_text_with_too_many_values_is_not_decoded(part: bytes) -> None:
    with pytest.raises(TooManyValues):
        decode(b"[" + b",".join([part] * (MAX_VALUES + 1)) + b"]")


@pytest.mark.parametrize(
    ("start", "error"),
    [
        (b"[", TooManyValues),
        (b"\xef\xbb\xbf[", TooManyValues),
        (b'["\\ud83d",', TooManyValues),
        (b'["\xf0\x9f",', TooManyValues),
        (b"[a,", msgspec.DecodeError),
    ],
)
def test_what_could_be_repaired_is_refused_for_its_values(
    start: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        decode(start + b"[]," * MAX_VALUES + b"0]")
    assert isinstance(caught.value, TooManyValues) == (error is TooManyValues)


@pytest.mark.parametrize("text", ["x" * 10**6, '",[{' * 50_000, "\\" * 50_000, "é\n" * 50_000])
def test_a_long_text_is_one_value(text: str) -> None:
    for ascii_only in (True, False):
        assert decode(json.dumps({"a": text}, ensure_ascii=ascii_only).encode()) == {"a": text}


@pytest.mark.parametrize(
    "number", ["1e300", "1.7976931348623157e308", "4.9e-324", "2.2250738585072011e-308", "-0.5"]
)
def test_numbers_that_msgspec_reads_slowly_are_read_by_python(number: str) -> None:
    """msgspec needs eight microseconds for `1e300`: a megabyte of them held the loop for 1.3 s."""
    decoded: list[Any] = []
    raw = f"[{','.join([number] * 100)}]".encode()
    assert calls_of(lambda: decoded.append(decode(raw))) > 100
    assert decoded == [[float(number)] * 100]


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity"])
def test_what_is_no_finite_number_is_refused(number: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(b"[" + number + b"]")
