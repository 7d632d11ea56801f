"""What can be set is in the documents."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from gateway import __version__
from gateway.config.settings import Config
from tests.test_arrows import ROWS

ROOT = Path(__file__).parents[1]


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def dataclasses_in(kind: Any) -> Iterator[Any]:
    """The dataclasses that an annotation is made of."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        yield kind
    for argument in get_args(kind):
        yield from dataclasses_in(argument)


def option_paths(kind: Any, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if field.name == "middlewares":
            continue
        path = f"{prefix}{field.name}"
        inner = list(dataclasses_in(hints[field.name]))
        if not inner:
            yield path
        for one in inner:
            many = "[]" if "tuple" in str(hints[field.name]) or field.name == "accounts" else ""
            yield from option_paths(one, f"{path}{many}.")


OPTIONS = list(option_paths(Config))
MIDDLEWARES = sorted(
    file.stem for file in (ROOT / "middlewares").glob("*.py") if file.stem != "__init__"
)


def test_the_options_are_found() -> None:
    assert {
        "server.max_body_bytes",
        "fitten.accounts[].password",
        "fitten.timeouts.connect",
        "log.level",
    } <= set(OPTIONS)


@pytest.mark.parametrize("path", OPTIONS)
def test_every_option_is_in_the_document_of_the_configuration(path: str) -> None:
    assert f"`{path}`" in text_of("docs/configuration.md")


@pytest.mark.parametrize("path", OPTIONS)
def test_the_default_of_an_option_is_in_its_line(path: str) -> None:
    kind: Any = Config
    *outer, name = path.replace("[]", "").split(".")
    for part in outer:
        kind = next(dataclasses_in(get_type_hints(kind, include_extras=True)[part]))
    default = next(field.default for field in dataclasses.fields(kind) if field.name == name)
    lines = [line for line in text_of("docs/configuration.md").splitlines() if f"`{path}`" in line]
    assert lines
    if isinstance(default, bool):
        assert any(str(default).lower() in line for line in lines)
    elif isinstance(default, (int, float, str)):
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        assert any(shown in line.replace(",", "") for line in lines)


@pytest.mark.parametrize("name", MIDDLEWARES)
def test_every_middleware_and_each_of_its_options_is_in_its_document(name: str) -> None:
    document = text_of("docs/middlewares.md")
    found = re.search(rf"^#+ .*`?{name}`?.*$((?:\n(?!#+ ).*)*)", document, re.MULTILINE)
    assert found is not None, "each has a section of its own"
    factory = getattr(importlib.import_module(f"middlewares.{name}"), name)
    for option, parameter in inspect.signature(factory).parameters.items():
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert f"`{option}`" in found[0]


@pytest.mark.parametrize("name", MIDDLEWARES)
def test_every_middleware_says_what_it_does_where_it_is_written(name: str) -> None:
    module = importlib.import_module(f"middlewares.{name}")
    factory = getattr(module, name)
    assert module.__doc__
    assert factory.__doc__
    for option in inspect.signature(factory).parameters:
        assert f"{option}:" in factory.__doc__


@pytest.mark.parametrize("target", ["demo", "install", "test", "run"])
def test_the_usual_make_targets_are_in_the_readme_and_in_the_makefile(target: str) -> None:
    assert f"make {target}" in text_of("README.md")
    assert re.search(rf"^{target}:", text_of("Makefile"), re.MULTILINE)


@pytest.mark.parametrize(
    "document", sorted(f.relative_to(ROOT).as_posix() for f in (ROOT / "docs").glob("*.md"))
)
def test_the_readme_leads_to_every_document(document: str) -> None:
    assert document in text_of("README.md")


DOCUMENTS = sorted(
    file.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md")
    for file in ROOT.glob(pattern)
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    here = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(document)):
        if "://" not in target:
            assert (here / target).exists(), target


def test_no_document_has_a_digest_that_a_reader_could_paste() -> None:
    """The digest of an example would let the example's key in."""
    digest = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")
    examples = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*.yaml"),
        *ROOT.glob("deploy/*.yaml"),
    ]
    assert [file for file in examples if digest.search(file.read_text("utf-8"))] == []


def test_the_changelog_has_this_version_or_what_comes_next() -> None:
    changes = text_of("CHANGELOG.md")
    assert __version__ in changes or "Unreleased" in changes


def test_the_public_names_are_in_the_document_of_the_middlewares() -> None:
    import gateway

    document = text_of("docs/middlewares.md")
    assert [name for name in gateway.__all__ if name not in document] == []


DECISIONS = sorted(
    file.name for file in (ROOT / "docs/decisions").glob("*.md") if file.name != "README.md"
)


@pytest.mark.parametrize("page", DECISIONS)
def test_every_decision_has_its_parts_and_a_line_in_the_index(page: str) -> None:
    headings = re.findall(r"^## (\w+)", text_of(f"docs/decisions/{page}"), re.MULTILINE)
    assert headings == ["Context", "Decision", "Why", "Consequences"]
    assert f"[{page.removesuffix('.md')}]({page})" in text_of("docs/decisions/README.md")


@pytest.mark.parametrize(
    "document",
    ["CONTRIBUTING.md", "docs/architecture.md", *(f"docs/decisions/{page}" for page in DECISIONS)],
)
def test_files_that_are_named_exist(document: str) -> None:
    folders = "gateway|middlewares|emulator|chaos|benchmarks|deploy|requirements|tests"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", text_of(document))
    assert [name for name in named if not (ROOT / name).exists()] == []


def code_blocks(name: str) -> list[list[str]]:
    """The lines of each fenced block, without what follows a `#`."""
    blocks = re.findall(r"```\w*\n(.*?)```", text_of(name), re.DOTALL)
    return [re.sub(r"(?m)\s*#.*$", "", block).splitlines() for block in blocks]


def test_the_architecture_fits_two_screens() -> None:
    lines = text_of("docs/architecture.md").splitlines()
    assert len(lines) <= 140
    assert [line for line in lines if len(line) > 100] == []


def test_the_architecture_names_every_package_and_module_in_its_place() -> None:
    named: dict[str, list[str]] = {}
    folders: list[str] = []
    for line in code_blocks("docs/architecture.md")[0]:
        if found := re.match(r"( *)(\w+)/", line):
            folders = [*folders[: len(found[1]) // 2], found[2]]
        names = line[found.end() :] if found else line
        named.setdefault("/".join(folders), []).extend(names.split())
    there: dict[str, list[str]] = {}
    for file in (ROOT / "gateway").rglob("*.py"):
        modules = there.setdefault(file.parent.relative_to(ROOT).as_posix(), [])
        modules += [file.stem] if file.name != "__init__.py" else []
    assert {folder: sorted(names) for folder, names in named.items()} == {
        folder: sorted(names) for folder, names in there.items()
    }


def test_the_arrows_of_the_architecture_are_those_that_are_checked() -> None:
    shown: dict[str, list[str]] = {}
    rows: list[str] = []
    for line in code_blocks("docs/architecture.md")[1]:
        before, arrow, after = line.replace("nothing of ours", "").rpartition("->")
        rows = re.findall(r"\w+", before) if arrow else rows
        for row in rows:
            shown.setdefault(row, []).extend(re.findall(r"[\w.]+", after))
    assert {row: sorted(targets) for row, targets in shown.items()} == {
        row: sorted(targets) for row, targets in ROWS.items()
    }


def commands(name: str) -> set[str]:
    """The lines of the code blocks, without comments, and what stands in single backquotes."""
    text = text_of(name)
    lines = {line.strip() for block in code_blocks(name) for line in block if line.strip()}
    return lines | set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def test_the_chinese_readme_has_the_commands_of_the_english_one() -> None:
    chinese = commands("README.zh-CN.md")
    assert {"$ make demo", "$ make run", "make demo PORT=5001"} <= chinese
    assert chinese - commands("README.md") == set()


@pytest.mark.parametrize(
    ("readme", "other"), [("README.md", "README.zh-CN.md"), ("README.zh-CN.md", "README.md")]
)
def test_each_readme_links_the_other_at_its_top(readme: str, other: str) -> None:
    title, blank, link, *_ = text_of(readme).splitlines()
    assert (title, blank) == ("# fitten-gateway", "")
    assert f"]({other})" in link
