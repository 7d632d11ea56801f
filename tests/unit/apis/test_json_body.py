"""What counts as the JSON object of a request."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.apis.json_body import convert, parse_object
from gateway.errors import InvalidRequest
from gateway.redaction import word


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse_object(raw)
    assert caught.value.status == 400
    assert caught.value.code == "invalid_json"
    assert len(caught.value.message) < 600
    return caught.value


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "it is empty"),
        (b" \r\n\t ", "it is empty"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":-Infinity}', "not valid JSON"),
        (b'{"a":nan}', "not valid JSON"),
        (b'{"a":1e999}', "not valid JSON"),
        (rb'{"a":"\ud83d"}', "half of a surrogate pair"),
        (rb'{"a":"\ude00 \ud83d"}', "half of a surrogate pair"),
        (rb'{"\ud83d":1}', "half of a surrogate pair"),
        (b'{"a":"\xed\xa0\xbd"}', "not UTF-8"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"\xc3":1}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        ('{"a":1}'.encode("utf-16"), "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a":1}}', "not valid JSON"),
        (b'{"a":1} {"b":2}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b'{"a":01}', "not valid JSON"),
        (b"{a:1}", "not valid JSON"),
        (b'{"a":"\n"}', "not valid JSON"),
        (b'{"a":"\0"}', "not valid JSON"),
        (b'{"a":1} // comment', "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a":1,"a":' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"{}"', "must be a JSON object"),
        (b"1", "must be a JSON object"),
        (b"[{}]", "must be a JSON object"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else None,
)
def test_what_is_no_json_object_is_refused(raw: bytes, says: str) -> None:
    assert says in refusal(raw).message


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"a":1,"b":2,"a":3}', "a"),
        (b'{"a":1,"a" :2}', "a"),
        (b'{"a"\t:1,"a"\r\n:2}', "a"),
        (b'{"a" : 1 , "a" : 2}', "a"),
        (rb'{"a":1,"\u0061":2}', "a"),
        (rb'{"a":1,"a":2,"s":"\u0022\u0022"}', "a"),
        (rb'{"q\"":1,"q\"":2}', "..."),
        (rb'{"q\\":1,"q\\":2}', "..."),
        (rb'{"q\\\"":1,"q\\\"":2}', "..."),
        (rb'{"\":":1,"\":":2}', "..."),
        (b'{"":1,"":2}', "..."),
        (b'{"a prompt":1,"a prompt":2}', "..."),
        (b'{"a prompt":[{"a":1,"a":2}]}', "...[0].a"),
        ('{"好":1,"好":2}'.encode(), "..."),
        (b'{"x":{"a":1,"a":2}}', "x.a"),
        (b'{"x":[0,{"a":1,"a":2}]}', "x[1].a"),
        (b'{"x":[[{"y":{"a":1, "a":2}}]]}', "x[0][0].y.a"),
        (b'{"x":{"a":1},"y":{"a":1},"x":{}}', "x"),
        (b'{"s":"\\":","a":1,"a":2}', "a"),
        (rb'{"s":"\\\":","a":1,"a":2}', "a"),
        (b'{"a":' * 100 + b'{"a":1,"a":2}' + b"}" * 100, ".".join(["a"] * 101)),
    ],
)
def test_a_member_given_twice_is_refused_with_its_path(raw: bytes, path: str) -> None:
    error = refusal(raw)
    assert error.param == path[:200]
    assert "given twice" in error.message


@pytest.mark.parametrize("opening", [b'{"a":', b"["])
def test_a_member_given_twice_beside_any_depth_is_refused_cleanly(opening: bytes) -> None:
    closing = b"}" if opening.startswith(b"{") else b"]"
    for depth in range(900, 1010):
        refusal(b'{"x":1,"x":2,"y":' + opening * depth + b"1" + closing * depth + b"}")


@pytest.mark.parametrize(
    "value",
    [
        {"s": '":'},
        {"s": '\\":'},
        {"s": '\\\\":'},
        {"s": '{"a":1,"a":2}'},
        {"s": json.dumps({"a": json.dumps({"b": 1})})},
        {"s": '" :'},
        {'":': '":'},
        {'a":': 1, "a": 2},
        {"a\\": 1, "a": 2},
        {"a": {"a": {"a": "a"}}, "b": [{"a": 1}, {"a": 2}]},
        {"s": "\\"},
        {"s": '"\t:'},
    ],
)
def test_texts_that_look_like_json_are_not_taken_for_members(value: dict[str, Any]) -> None:
    for raw in (json.dumps(value), json.dumps(value, separators=(" , ", " : "))):
        assert parse_object(raw.encode()) == value
        nested = {"messages": [{"content": raw}]}
        assert parse_object(json.dumps(nested).encode()) == nested


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.text('\\":{},a \n', max_size=8)
)
names = st.text(max_size=4) | st.text('\\":a ', max_size=4)
objects = st.dictionaries(
    names,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=80, deadline=None)
@given(objects)
def test_every_json_object_comes_through_however_it_was_written(value: dict[str, Any]) -> None:
    for raw in (
        json.dumps(value).encode(),
        json.dumps(value, ensure_ascii=False).encode(),
        json.dumps(value, separators=(",", ":")).encode(),
        json.dumps(value, indent=2).encode(),
        json.dumps(value, separators=("\n,\t", "\r : ")).encode(),
        msgspec.json.encode(value),
        msgspec.json.format(msgspec.json.encode(value), indent=4),
    ):
        assert parse_object(raw) == value


@settings(max_examples=60, deadline=None)
@given(objects, names, st.sampled_from(["", " ", "\n\t"]))
def test_every_second_member_of_one_name_is_found(
    value: dict[str, Any], name: str, blank: str
) -> None:
    inner = json.dumps(value | {name: 1})
    key = json.dumps(name)
    raw = f'{{"x":[{inner[:-1]},{key}{blank}:2}}]}}'
    assert refusal(raw.encode()).param == f"x[0].{word(name)}"


class Inner(msgspec.Struct):
    text: str


class Outer(msgspec.Struct):
    items: list[Inner]
    count: int | None = None


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        ({}, "missing_required_parameter", "items"),
        ({"items": [{"text": "a"}, {}]}, "missing_required_parameter", "items[1].text"),
        ({"items": 1}, "invalid_type", "items"),
        ({"items": [{"text": 1}]}, "invalid_type", "items[0].text"),
        ({"items": [], "count": "1"}, "invalid_type", "count"),
        ({"items": [], "count": 1.5}, "invalid_type", "count"),
        ({"items": [], "count": True}, "invalid_type", "count"),
    ],
)
def test_a_wrong_shape_is_refused_with_the_path_of_the_fault(
    value: dict[str, Any], code: str, path: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(value, Outer)
    assert (caught.value.code, caught.value.param) == (code, path)
    assert path in caught.value.message


def test_unknown_members_are_left_to_the_api() -> None:
    assert convert({"items": [], "else": 1}, Outer) == Outer([])
