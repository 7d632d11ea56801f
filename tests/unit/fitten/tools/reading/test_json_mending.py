"""JSON of models: what is JSON is never changed, and only certain mistakes are mended."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.fitten.tools.reading.json_mending import (
    MAX_VALUES,
    decode,
    encode,
    load_lenient_json,
    mend,
)
from gateway.fitten.tools.reading.text_reader import NotFoundHere
from tests.counting import calls_of

odd = st.lists(
    st.sampled_from(
        ['"', "'", "“", "”", "＂", "‘", "’", "，", "：", "｛", "\\", "\\n", "\\u", "C:\\bin\\new",
         "\n", "\t", "\r\n", "&quot;", "&lt;", ",}", ",]", "True", "None", "//", "好", "😀",
         "\u2028", "<|end|>", "<tool_call>", "```", "a", " "]
    ),
    max_size=8,
).map("".join) | st.text(max_size=12)  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | odd,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=500, deadline=None)
@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_what_is_json_comes_out_unchanged(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert load_lenient_json(text) == value
    assert encode(load_lenient_json(text)) == json.dumps(
        value, ensure_ascii=False, separators=(",", ":")
    )


@settings(max_examples=500, deadline=None)
@given(odd, odd)
@example("“好”，＂全角＂", 'say "hi"')
def test_mends_around_a_string_leave_its_characters_alone(name: str, text: str) -> None:
    """A comma too many and the words of Python; all strings are those that the model wrote."""
    members = f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(text, ensure_ascii=False)}"
    found = load_lenient_json(f"[True, {{{members},}},]")
    if not text.startswith("C:\\") and not name.startswith("C:\\"):
        assert found == [True, {name: text}]


@given(st.text(st.characters(exclude_characters='\\”"', exclude_categories=["Cs"])))
@example("他说“好")
def test_the_text_in_wide_quotes_stays(text: str) -> None:
    assert load_lenient_json(f"{{“a”: “{text}”}}") == {"a": text}


MENDED: dict[str, tuple[str, Any]] = {
    "raw line ends and tabs": ('{"a": "x\n\ty\r\n"}', {"a": "x\n\ty\r\n"}),
    "a comma behind the last member": ('{"a": 1, }', {"a": 1}),
    "a comma behind the last item": ('{"a": [1, "x",\n], "b": [{},]}', {"a": [1, "x"], "b": [{}]}),
    "brackets that are open at the end": ('{"a": {"b": ["x"', {"a": {"b": ["x"]}}),
    "an open bracket behind a word": ('{"a": [true, null ', {"a": [True, None]}),
    "wide quotes": ("{“a”: “x”, ＂b＂: ＂y＂}", {"a": "x", "b": "y"}),
    "quotes that do not match": ('{“a": “x", "b": 1}', {"a": "x", "b": 1}),
    "right quotes on both sides": ("{”a”: ”x”}", {"a": "x"}),
    "quotes inside wide quotes": ('{“a”: “say "hi" or “ok”.”}', {"a": 'say "hi" or “ok”.'}),
    "wide quotes only as delimiters": ('{“a”: "“x”", "b": "＂"}', {"a": "“x”", "b": "＂"}),
    "an escaped wide quote": ("{“a”: “x\\”, y\\n”}", {"a": "x”, y\n"}),
    "words of Python": ('{"a": True, "b": [None,False]}', {"a": True, "b": [None, False]}),
    "words of Python in strings": ('{"a": None, "b": "None, 1"}', {"a": None, "b": "None, 1"}),
    "single quotes": ("{'a': 1, 'b': 'x y', \"c\": 'z'}", {"a": 1, "b": "x y", "c": "z"}),
    "entities": ('{&quot;a&quot;: &quot;x &lt; y&quot;}', {"a": "x < y"}),
    "entities and a comma": ("{&quot;a&quot;: 1,}", {"a": 1}),
    "a pattern": (r'{"a": "\d+\.\w"}', {"a": r"\d+\.\w"}),
    "a pattern and a line end": (r'{"a": "\d+\n\w"}', {"a": "\\d+\n\\w"}),
    "borders of words": (r'{"a": "\bx\b\s"}', {"a": r"\bx\b\s"}),
    "an x escape": (r'{"a": "\x41"}', {"a": r"\x41"}),
    "half an escape": (r'{"a": "\u12"}', {"a": r"\u12"}),
    "a single quote": (r'{"a": "it\'s"}', {"a": r"it\'s"}),
    "a path of Windows": (r'{"a": "C:\Users\bob\new"}', {"a": r"C:\Users\bob\new"}),
    "segments of one letter": (r'{"a": "D:\s\b1\t.txt"}', {"a": r"D:\s\b1\t.txt"}),
    "a name with u": (r'{"a": "c:\users\temp"}', {"a": r"c:\users\temp"}),
    "a path with blanks": (r'{"a": "C:\Program Files\nodejs"}', {"a": r"C:\Program Files\nodejs"}),
    "a path without a drive": (r'{"a": "src\main\new.py"}', {"a": r"src\main\new.py"}),
    "a path and another mistake": (r'{"a": "C:\bin\new",}', {"a": r"C:\bin\new"}),
    "a path in a sentence": (
        r'{"a": "see C:\src\new\n- and\tthen \q"}',
        {"a": "see C:\\src\\new\n- and\tthen \\q"},
    ),
    "a line end behind a path": (r'{"a": "cd C:\src\n"}', {"a": "cd C:\\src\n"}),
    "escapes that are right": (
        r'{"a": "C:\\bin\\new \"x\" \u597d\/ \d"}',
        {"a": 'C:\\bin\\new "x" 好/ \\d'},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_a_certain_mistake_is_mended(name: str) -> None:
    text, value = MENDED[name]
    assert load_lenient_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        r'{"a": "C:\bin\new"}',
        r'{"a": "\b\f\n\r\t\/\u0041"}',
        '{"a": "&quot;“x”＂"}',
        '{"a": "x\ny"}',
    ],
)
def test_what_can_be_read_is_not_mended(text: str) -> None:
    assert load_lenient_json(text) == json.loads(text, strict=False)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", '{"a"', '{"a":', '{"a": "x', '{"a": "x",', '{"a": 12', '{"a": tru', '{"a": 1]',
        '{"a": 1}}', "{,}", "[,1]", "[1,,2]", '{"a":,}', '{"a": 1 "b": 2}', "{a: 1}",
        "{'a': 'it's'}",
        "{'a\"b': 1}", '{"a": say "hi"}', '{"a": "say "hi" now"}', '{"a": NaN}', '{"a": Infinity}',
        '{"a": 1 // why\n}', '{"a": /* why */ 1}', '{"a": 01}', '{"a": +1}', "{“a”: “x}",
        '{"a": True1}',
        "not JSON", '{"a": 1} and more', '{"a": ' + "9" * 5000 + "}", "[" * 100_000,
    ],
)  # fmt: skip
def test_what_may_mean_two_things_is_left_alone(text: str) -> None:
    with pytest.raises(NotFoundHere):
        load_lenient_json(text)


NUMBERS = [
    "1.10", "1.0", "-0", "0", "-0.0", "1e400", "-1E5", "1e-7", "12345678901234567890.123",
    "123456789012345678901234567890", "0.1000000000000000000001", "1.7976931348623157e309",
]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_their_digits(number: str) -> None:
    text = f'{{"a":{number},"b":[{number},{{"c":{number}}}]}}'
    assert encode(load_lenient_json(text)) == text
    assert encode(load_lenient_json(f"{text[:-1]},}}")) == text, "mended"
    assert encode(load_lenient_json(text), compact=False) == text.replace(",", ", ").replace(
        ":", ": "
    )
    assert json.loads(encode(decode(text))) == json.loads(text)


def test_too_many_values_are_not_decoded() -> None:
    with pytest.raises(NotFoundHere):
        load_lenient_json("[" + "1," * MAX_VALUES + "1]")


@pytest.mark.parametrize(
    "part",
    [
        "True,", "[],", "{},", "1,", "1,]", "'a',", "“a”,", "“", '"', "'", r'"\d",', r"\d", ",",
        "\\",
        r'"C:\n\n",', "” ", ", ", "\n", '"a":', "[", "}", "&quot;", r'"\\\\\d",', "”” ,",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("before", "after"), [("[", "1]"), ('["', '\\d"]'), ("[“", "”]"), ("", "")]
)
def test_work_grows_with_the_text_and_is_bounded(before: str, after: str, part: str) -> None:
    def work(count: int) -> int:
        def attempt() -> None:
            with contextlib.suppress(ValueError):
                mend(before + part * count + after)

        return calls_of(partial(attempt))

    few, many = work(400), work(4000)
    assert many < 11 * few + 100
    assert work(40_000) < 200_000 + 5 * 40_000 * len(part)
