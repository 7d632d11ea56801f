"""Plain words: docstrings begin with a verb, sentences are short, no metaphor comes back.

Many readers' mother tongue is not English. What is counted here are sentences of README, docs
and error texts; code, tables and quotations are left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_WORDS = 24
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "tests/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
    if not path.name.endswith(".zh-CN.md") and "zh" not in path.parts
)
MODULES = sorted([*ROOT.glob("gateway/**/*.py"), *ROOT.glob("middlewares/*.py")])
TOOLS = sorted(
    path
    for folder in ("emulator", "chaos", "benchmarks", "deploy")
    for path in ROOT.glob(f"{folder}/**/*.py")
)
TESTS = sorted(path for path in ROOT.glob("tests/**/*.py") if path != Path(__file__))
VERBS = frozenset((ROOT / "tests/verbs.txt").read_text("utf-8").split())

# Words of which a reader has to guess what they stand for, and the usual word.
METAPHORS = {
    "boundary": "error handler",
    "crew": "workers",
    "desk": "RPC server",
    "door": "entrypoint",
    "doors": "entrypoints",
    "house": "project",
    "keeper": "registry",
    "offices": "account services",
    "office": "account service",
    "parrot": "upstream that quotes",
    "patience": "time limit",
    "patient": "with a time limit",
    "pictures": "images",
    "shift": "revision",
    "shifts": "revisions",
    "tending": "background refresh",
    "the hour": "current",
    "whoever": "the one that",
}
OTHER_MEANINGS = {
    "tests/integration/apis/test_errors.py": ["boundary"],  # of a multipart body
    "tests/process/test_audit.py": ["shift"],  # a command of the shell
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def sentences(text: str, ends: str = ".!?") -> Iterator[str]:
    """The sentences of Markdown, each list item and heading for itself."""
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"(?m)^(\||>|    ).*$", "\n", text)  # tables, quotations, indented code
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"(?m)^\s*(?:[-*+]|\d+\.|#+)\s", "\n\n", text)
    for block in re.split(r"\n\s*\n", text):
        block = re.sub(r"\b(e\.g|i\.e|etc|vs|cf)\.", r"\1", " ".join(block.split()))
        yield from re.split(rf"(?<=[{ends}])[\"')\]]*\s+", block)


def words(sentence: str) -> int:
    return len(re.findall(r"[A-Za-z0-9][\w'’./%-]*", sentence))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_sentences_of_the_documentation_are_short(page: Path) -> None:
    long = [s for s in sentences(page.read_text("utf-8")) if words(s) > MOST_WORDS]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_documentation_has_no_metaphors(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text("utf-8"), flags=re.DOTALL).lower()
    found = [word for word in METAPHORS if re.search(rf"\b{word}\b", text)]
    assert found == []


def texts_of_errors(tree: ast.AST) -> Iterator[str]:
    """What is told to people: texts of exceptions and of configuration mistakes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if re.search(
                r"(Error|error|Invalid\w+|Not\w+|Unavailable|Refused|Timeout|Limited"
                r"|TooLarge|Unauthorized|Unreadable|Superseded)$",
                called,
            ):
                yield from (text for arg in node.args if (text := literal(arg)))
        elif isinstance(node, ast.Assign) and "mistakes" in ast.unparse(node.targets[0]):
            yield literal(node.value)


def literal(node: ast.AST) -> str:
    """The text of a string or f-string, a word for each value in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) or "value" for part in node.values)
    if isinstance(node, ast.BinOp):
        return literal(node.left) + literal(node.right)
    return ""


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_sentences_of_error_texts_are_short(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    long = [
        sentence
        for text in texts_of_errors(tree)
        for sentence in sentences(text)
        if words(sentence) > MOST_WORDS
    ]
    assert long == []


@pytest.mark.parametrize("module", [*MODULES, *TOOLS, *TESTS], ids=name)
def test_code_has_no_metaphors(module: Path) -> None:
    """In names, comments, docstrings and texts alike."""
    text = re.sub(r"[_\W]+", " ", module.read_text("utf-8")).lower()
    found = [word for word in METAPHORS if re.search(rf"\b{word}\b", text)]
    assert found == OTHER_MEANINGS.get(name(module), [])


def documented(tree: ast.Module) -> Iterator[tuple[str, ast.AST, str]]:
    """The module itself, and what is public in it, with its docstring."""
    todo: list[tuple[str, ast.AST]] = [("", tree)]
    while todo:
        path, node = todo.pop()
        assert isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if docstring := ast.get_docstring(node):
            yield path or "module", node, docstring
        if isinstance(node, (ast.Module, ast.ClassDef)):
            for child in node.body:
                if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    public = not child.name.startswith("_") or child.name == "__init__"
                    if public and not is_scenario(child):
                        todo.append((f"{path}.{child.name}".lstrip("."), child))


def is_scenario(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether the docstring is an entry in the list of `python -m emulator --scenarios`."""
    return any(ast.unparse(one).partition("(")[0] == "scenario" for one in node.decorator_list)


def begins_with_a_verb(node: ast.AST, docstring: str) -> bool:
    """A function says what to do (`Return`), a class or module what it does (`Returns`)."""
    first = re.split(r"\W+", docstring, maxsplit=1)[0].lower()
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return first in VERBS
    return first.endswith("s") and base(first) in VERBS


def base(verb: str) -> str:
    """`carries` -> `carry`, `passes` -> `pass`, `reads` -> `read`."""
    for end, other in (("ies", "y"), ("es", ""), ("s", "")):
        if verb.endswith(end) and verb.removesuffix(end) + other in VERBS:
            return verb.removesuffix(end) + other
    return ""


@pytest.mark.parametrize("module", [*MODULES, *TOOLS], ids=name)
def test_public_docstrings_begin_with_a_verb(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    others = [
        (path, docstring.partition("\n")[0])
        for path, node, docstring in documented(tree)
        if not begins_with_a_verb(node, docstring)
    ]
    assert others == []


@pytest.mark.parametrize("module", [*MODULES, *TOOLS], ids=name)
def test_sentences_of_docstrings_are_short(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    long = [
        (path, sentence)
        for path, _, docstring in documented(tree)
        for sentence in sentences(re.sub(r"(?m)^ +", "", docstring), ".!?:;")
        if words(sentence) > MOST_WORDS
    ]
    assert long == []
