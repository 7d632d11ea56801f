"""Suggestions of code completion: what an answer inserts, and what is cut off."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.fitten.completion.document import GapDocument
from gateway.fitten.completion.suggestion import (
    parse_suggestion,
    without_end_tokens,
    without_repetition,
)
from gateway.generation.request import Fill

TEXT = st.text(
    st.one_of(st.sampled_from("ab\n\r好é😀𝔘"), st.characters(blacklist_categories=["Cs"])),
    max_size=60,
)


def parsed(answer: dict[str, Any], of: GapDocument) -> str:
    return parse_suggestion(answer, of, Fill(of.prefix, of.suffix))


AT = GapDocument("f(a", "b\nnext line\n")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"generated_text": "a + b"}, "a + b"),
        ({"generated_text": "x<|endoftext|>"}, "x"),
        ({"generated_text": "<|endoftext|>x<|endoftext|>y"}, "xy"),
        ({"generated_text": "x<｜end▁of▁text｜>"}, "x"),
        ({"generated_text": "one\r\ntwo\rthree\n"}, "one\ntwo\nthree\n"),
        ({"generated_text": "", "ex_msg": "more"}, "more"),
        ({"generated_text": "a", "ex_msg": "b"}, "ab"),
        ({"generated_text": ""}, ""),
        ({"generated_text": "<|endoftext|>"}, ""),
        ({}, ""),
        ({"generated_text": "b"}, ""),  # what stands there already
        ({"generated_text": ", c, b", "delta_char": 1}, ", c, "),
        ({"ex_msg": "b)", "delta_char": 1}, ""),  # cannot be had by inserting
        ({"generated_text": "x", "delta_char": 1}, ""),
        ({"generated_text": "x", "delta_line": 1}, ""),
        ({"generated_text": "x", "delta_char": -1}, ""),
        ({"generated_text": "x", "delta_char": "1"}, ""),
        ({"generated_text": "x", "delta_char": 10**9}, ""),
        ({"generated_text": "😀好"}, "😀好"),
    ],
)
def test_what_is_inserted(answer: dict[str, Any], text: str) -> None:
    assert parsed(answer, AT) == text


def test_half_of_a_character_is_never_replaced() -> None:
    of = GapDocument("", "😀")
    assert parsed({"generated_text": "x😀", "delta_char": 2}, of) == "x"
    assert parsed({"generated_text": "x😀", "delta_char": 1}, of) == ""


@given(before=TEXT, inserted=TEXT, after=TEXT, replaced=st.integers(1, 10))
def test_an_insertion_gives_the_text_that_the_upstream_meant(
    before: str, inserted: str, after: str, replaced: int
) -> None:
    of = GapDocument(before, after)
    old = after[:replaced]
    answer = {
        "generated_text": inserted + old,
        "delta_char": len(old.encode("utf-16-le")) // 2,
    }
    text = parsed(answer, of)
    clean = inserted.replace("\r\n", "\n").replace("\r", "\n")
    if "\r" not in old and text:
        assert before + text + after == before + clean + old + after[len(old) :]


@pytest.mark.parametrize("answer", [{"generated_text": 1}, {"ex_msg": None}, {"ori_start_line": 0}])
def test_an_answer_of_another_kind_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError):
        parsed(answer, AT)


# Before and after the cursor (`|`), the suggestion, and what is left of it.
REPETITIONS: dict[str, tuple[str, str, str]] = {
    # The rest of the line is a bracket or quote that the editor has put there.
    "a closing bracket": ("f(|)", "a, b)", "a, b"),
    "two closing brackets": ("f(g(|))", "a))", "a"),
    "one of two closing brackets": ("f(g(|))", "a)", "a"),
    "one more is open": ("h(f(|)", "a)", "a)"),
    "three are open, two are there": ("h(f(g(|))", "a))", "a)"),
    "the suggestion closes its own": ("f(|)", "g(x)", "g(x)"),
    "its own, and one too many": ("f(|)", "g(x))", "g(x)"),
    "open since a line before": ("f(\n  a,\n  |)\n", "b)", "b"),
    "two open since a line before": ("f(g(\n  a, |)\n", "b)", "b)"),
    "two open, both closed": ("f(g(\n  a, |))\n", "b)", "b"),
    "a bracket and a semicolon": ("f(|);", "a, b);", "a, b"),
    "the bracket without the semicolon": ("f(|);", "a, b)", "a, b"),
    "a semicolon too many": ("f(|)", "a, b);", "a, b"),
    "a call with its semicolon": ("f(|)", "g();", "g();"),
    "only a semicolon": ("x = |;", "g();", "g()"),
    "a comma": ("[1, |, 3]", "2,", "2"),
    "a square bracket": ("a[|]", "0]", "0"),
    "a brace": ("x = {|}", "'a': 1}", "'a': 1"),
    "a block in one line": ("if (a) {|}", " b(); }", " b(); "),
    "mixed brackets": ("f({|});", "a: 1});", "a: 1"),
    "a blank before the bracket": ("f( | )", "a )", "a"),
    "a quote": ('x = "|"', 'hello"', "hello"),
    "a quote and a bracket": ('print("|")', 'hello")', "hello"),
    "a quote that begins a string": ('print(|"x")', '"a", ', '"a", '),
    "an apostrophe": ("x = '|'", "it'", "it"),
    "a whole string": ("x = [|]", '"a"', '"a"'),
    "a string of three quotes": ('"""|"""', 'Text."""', "Text."),
    "a quote and brackets": ('f(g("|"))', 'a"))', "a"),
    "a block begins": ("if (|) {", "a) {", "a"),
    "a backtick": ("x = `|`", "${a}`", "${a}"),
    # The rest of the line is code.
    "the rest of a call": ("f(|bar, baz)", "x, bar, baz)", "x, "),
    "a word": ("for (|i = 0;;)", "int i", "int "),
    "a part of a word": ("x = |b", "web", "web"),
    "a word that the cursor splits": ("f(a|b", "a + b", "a + b"),
    "a word that goes on": ("x = |bar", "a + b", "a + b"),
    "the rest of the line": ("x = |b + c", "b + c", ""),
    "a method": ("x|.foo()", "s.", "s"),
    "an operator": ("x = |+ b", "a +", "a "),
    "a blank only": ("x = | b", "a ", "a "),
    "more lines": ("f(|);\nnext();\nlast();\n", "a);\nnext();", "a"),
    "a line end behind it": ("f(|)\n", "a)\n", "a"),
    "no repetition": ("f(|)", "a, b", "a, b"),
    # The cursor is at the end of a line; the next lines are repeated.
    "the next line": ("a = 1\n|\nprint(a)\n", "b = 2\nprint(a)", "b = 2"),
    "the next lines": ("a = 1\n|\nb()\nc()\n", "x()\nb()\nc()\n", "x()"),
    "nothing else": ("def f():\n    |\n    return x\n", "return x", ""),
    "an empty line between": ("a = 1\n|\n\nprint(a)\n", "b = 2\nprint(a)", "b = 2"),
    "another indentation": (
        "def f():\n    |\n    return x\n",
        "if a:\n        return x",
        "if a:\n        return x",
    ),
    "a pattern": ("a = [\n    0,\n    |\n    0,\n]", "0,\n    0,", "0,\n    0,"),
    "a pattern of the text before": ("x()\n|\nx()\n", "x()", "x()"),
    "the end of a block": ("f {\n  |\n}\n", "a;\n}", "a;"),
    "the end of an inner block": ("f {\n  if {\n    |\n}\n", "a;\n  }", "a;\n  }"),
    "both ends": ("f {\n  if {\n    |\n  }\n}\n", "a;\n  }\n}", "a;"),
    "the end that is missing": ("n {\nf {\n  |\n}\n", "a;\n}", "a;\n}"),
    "none of two is missing": ("n {\nf {\n  |\n}\n}\n", "a;\n}", "a;"),
    "a single brace that is missing": ("f {\n  a;\n|\n", "}", "}"),
    "a single brace that is there": ("f {\n  a;\n|\n}\n", "}", ""),
    "the end of a callback": ("f(() => {\n  |\n});\n", "a();\n});", "a();"),
    "the end in words": ("def f\n  |\nend\n", "a\nend", "a"),
    "an inner end in words": ("def f\n  if x\n    |\nend\n", "a\n  end", "a\n  end"),
    "an end in words of its own": ("def f\n|\nend\n", "if x\nend", "if x\nend"),
    "a closing tag": ("<div>|</div>", "a</div>", "a"),
    "a closing tag of its own": ("<div>|</div>", "<div>a</div>", "<div>a</div>"),
    "its own, and one more": ("<div>|</div>", "<div>a</div></div>", "<div>a</div>"),
    "a closing tag in a line": ("<p>\n  |\n</p>\n", "a\n</p>", "a"),
    "its own in a line": ("<p>\n|\n</p>\n", "<p>\n</p>", "<p>\n</p>"),
    "an element of the line": ("<p>|\n</p>\n", "a\n</p>", "a"),
    "a block of the line": ("def f|\nend\n", "(x)\n  a\nend", "(x)\n  a"),
    "an empty element": ("<a>|</a>", "<a href='b'/></a>", "<a href='b'/>"),
    "the end of a comment": ("/* |*/", "text */", "text "),
    "the rest of the file, and more": (
        "a()\n|\nb()\nc()\n",
        "x()\nb()\nc()\nd()\n",
        "x()",
    ),
    "the next line, and another": ("a()\n|\nb()\nc()\n", "x()\nb()\ny()\n", "x()\nb()\ny()\n"),
    "a line that breaks off": ("a()\n|\nb()\ncall()\n", "x()\nb()\nca", "x()"),
    "Windows' line ends": ("a = 1\r\n|\r\nprint(a)\r\n", "b = 2\nprint(a)", "b = 2"),
    "the begun line is the next one": ("f(|\nf()\n", ")", ")"),
    "empty": ("a|b", "", ""),
    "nothing follows": ("f(|", "a)", "a)"),
}


@pytest.mark.parametrize(("around", "text", "kept"), REPETITIONS.values(), ids=REPETITIONS)
def test_what_follows_the_cursor_is_not_repeated(around: str, text: str, kept: str) -> None:
    prefix, _, suffix = around.partition("|")
    assert without_repetition(text, prefix, suffix) == kept


@given(TEXT, TEXT, TEXT)
def test_only_the_end_of_a_suggestion_is_cut(text: str, prefix: str, suffix: str) -> None:
    assert text.startswith(without_repetition(text, prefix, suffix))


@given(text=st.text("ab\n {}()'", max_size=30), prefix=st.text("ab\n {}()'", max_size=20))
def test_a_text_that_nothing_follows_stays(text: str, prefix: str) -> None:
    assert without_repetition(text, prefix, "") == text


# Before and after the cursor (`¦`), the suggestion, and what is left of it.
END_TOKENS: dict[str, tuple[str, str, str]] = {
    "qwen": ("x = ¦", "1<|im_end|>", "1"),
    "qwen, the next file": ("x = ¦", "1\n<|file_sep|>other.py\ny = 2", "1\n"),
    "qwen, padding": ("x = ¦", "1<|fim_pad|><|fim_pad|>", "1"),
    "qwen, a repository": ("x = ¦", "1<|repo_name|>demo", "1"),
    "starcoder, the next file": ("x = ¦", "1<file_sep>other.py\ny", "1"),
    "starcoder": ("x = ¦", "1<fim_middle>2", "1"),
    "starcoder, a closing tag": ("x = ¦", "1</fim_middle>", "1"),
    "santacoder": ("x = ¦", "1<fim-pad>", "1"),
    "deepseek": ("x = ¦", "1<｜end▁of▁sentence｜>", "1"),
    "deepseek, a marker": ("x = ¦", "1<｜fim▁hole｜>2", "1"),
    "deepseek instruct": ("x = ¦", "1\n<|EOT|>", "1\n"),
    "code llama": ("x = ¦", "1 <EOT>", "1"),
    "code llama, and on": ("x = ¦", "1 <EOT>\n\n\ny", "1"),
    "code llama, a marker": ("x = ¦", "1 <MID>", "1 "),
    "incoder": ("x = ¦", "1<|endofmask|>", "1"),
    "llama 3": ("x = ¦", "1<|eot_id|><|start_header_id|>user", "1"),
    "padding": ("x = ¦", "1<pad><pad>", "1"),
    "codegemma": ("x = ¦", "1<|file_separator|>", "1"),
    "gemma": ("x = ¦", "1<end_of_turn>\n<eos>", "1"),
    "codestral": ("x = ¦", "1</s>", "1"),
    "seed-coder": ("x = ¦", "1<[end▁of▁sentence]>", "1"),
    "codegeex": ("x = ¦", "1<|user|>\nnext", "1"),
    "granite": ("x = ¦", "1<|end_of_text|>", "1"),
    "fitten, anywhere": ("x = ¦", "<|endoftext|>1<|endoftext|> + 2", "1 + 2"),
    "nothing but a token": ("x = ¦", "<|im_end|>", ""),
    "less than": ("x = ¦", "a < b and c <d", "a < b and c <d"),
    "a generic type": ("x: ¦", "List<Item>", "List<Item>"),
    "a pipe": ("x = ¦", "a <| b |> c", "a <| b |> c"),
    "half a token": ("x = ¦", "a<|im_en", "a<|im_en"),
    "an unknown token": ("x = ¦", "a<|mine|>", "a<|mine|>"),
    "a tag": ("¦", "<s>old</s>", "<s>old</s>"),
    "a tag of the line": ("<s>¦", "old</s>", "old</s>"),
    "in a string": ("x = ¦", 'tokens["<|im_end|>"] + 1', 'tokens["<|im_end|>"] + 1'),
    "fitten's in a string": ("x = ¦", 'f("<|endoftext|>")', 'f("<|endoftext|>")'),
    "in a string of the file": ('x = "¦"', "<eos>", "<eos>"),
    "behind a string": ("x = ¦", '"a"<|im_end|>', '"a"'),
    "behind an apostrophe": ("# ¦", "don't<|im_end|>", "don't"),
    "in the file too": ("a<|im_end|>\n¦", "b<|im_end|>\n", "b<|im_end|>\n"),
    "fitten's in the file too": ("'<|endoftext|>'\n¦", "b<|endoftext|>", "b"),
    "a placeholder": ("# usage: ¦", "prog <filename>", "prog <filename>"),
    "an index": ("x = ¦", "table[PREFIX]", "table[PREFIX]"),
}


@pytest.mark.parametrize(("around", "text", "kept"), END_TOKENS.values(), ids=END_TOKENS)
def test_end_tokens_of_models_are_cut_off(around: str, text: str, kept: str) -> None:
    prefix, _, suffix = around.partition("¦")
    assert without_end_tokens(text, prefix, suffix) == kept


def test_an_end_token_is_cut_off_before_a_replacement_is_read() -> None:
    of = GapDocument("f(", ")")
    answer = {"generated_text": "a)<|endoftext|><|im_end|>", "delta_char": 1}
    assert parsed(answer, of) == "a"


def calls(text: str, prefix: str, suffix: str) -> int:
    """The calls that cleaning a suggestion makes."""
    made = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        without_repetition(without_end_tokens(text, prefix, suffix), prefix, suffix)
    finally:
        sys.setprofile(None)
    return made


HOSTILE = [
    ")",
    "(",
    "}\n",
    "}\n)\n",
    "a\n",
    "{\n",
    '"<|im_end|>',
    "<|im_end|>",
    "<|",
    "</s>",
    "f(\n",
]


@pytest.mark.parametrize("after", HOSTILE)
@pytest.mark.parametrize("before", HOSTILE)
def test_a_large_file_takes_as_much_work_as_a_small_one(before: str, after: str) -> None:
    text = after * (4000 // len(after))
    small, large = (
        calls(text, before * (size // len(before)), after * (size // len(after)))
        for size in (20_000, 400_000)
    )
    assert large <= small + 10
    assert large < 100_000


def test_of_a_very_long_answer_only_fittens_own_token_is_removed() -> None:
    assert without_end_tokens("<|endoftext|>" + "<|im_end|>" * 20_000, "", "") == (
        "<|im_end|>" * 20_000
    )
