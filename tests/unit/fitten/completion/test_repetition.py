"""Suggestions do not repeat what follows the cursor: the table is the specification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.completion.repetition import without_repetition

TEXT = st.text(
    st.one_of(st.sampled_from("ab\n\r好é😀𝔘"), st.characters(blacklist_categories=["Cs"])),
    max_size=60,
)

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
