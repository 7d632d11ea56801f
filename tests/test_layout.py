"""Where tests are: the test of a module is found by its name; the README describes each folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import KINDS

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "tests" / "unit"
TREES = ("gateway", "middlewares", "emulator", "chaos", "benchmarks", "deploy", "tests")
SUPPORT = [
    file
    for file in sorted((ROOT / "tests").rglob("*.py"))
    if not file.name.startswith(("test_", "__"))
]


def modules_of(test: Path) -> list[Path]:
    """The modules that a test in tests/unit may be about: `test_pool_states` is about `pool`."""
    folder = test.parent.relative_to(UNIT)
    packages = [ROOT / "gateway" / folder, ROOT / folder]
    parts = test.stem.removeprefix("test_").split("_")
    stems = ["_".join(parts[:length]) for length in range(len(parts), 0, -1)]
    found = [package / f"{stem}.py" for stem in stems for package in packages]
    return [file for file in found if file.exists()]


def elsewhere(test: Path) -> bool:
    """Tests of a whole package: the emulator's and those of benchmarks."""
    return test.parent.name in ("emulator", "benchmarks")


@pytest.mark.parametrize(
    "test",
    [file for file in sorted(UNIT.rglob("test_*.py")) if not elsewhere(file)],
    ids=lambda file: str(file.relative_to(UNIT)),
)
def test_a_unit_test_has_the_name_of_its_module(test: Path) -> None:
    assert modules_of(test)


def test_every_folder_and_support_module_is_described() -> None:
    text = (ROOT / "tests" / "README.md").read_text("utf-8")
    names = {str(f.relative_to(ROOT / "tests")) for f in SUPPORT if f.name != "conftest.py"}
    folders = {f"{f.parent.relative_to(ROOT / 'tests')}/" for f in SUPPORT}
    folders = {folder for folder in folders if not folder.startswith(("unit/", "./"))}
    assert {name for name in names | folders if f"`{name}`" not in text} == set()


def test_every_folder_is_a_kind() -> None:
    folders = {
        file.relative_to(ROOT / "tests").parts[0] for file in (ROOT / "tests").glob("*/**/*.py")
    }
    assert folders == set(KINDS)


def test_a_class_name_means_one_thing_in_the_whole_tree() -> None:
    places: dict[str, list[str]] = {}
    files = [file for package in TREES for file in sorted((ROOT / package).rglob("*.py"))]
    for file in files:
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
