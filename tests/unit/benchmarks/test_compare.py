"""The arithmetic and the arguments of `make bench-compare`."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, machine, processes, revision
from benchmarks.loads import PacedLoad
from benchmarks.measure import CROWDED
from benchmarks.pairs import LOADS, Pair, order, turns
from benchmarks.processes import BenchProcessFailed
from benchmarks.ratios import (
    IS_WORSE,
    NOT_WORSE,
    TOO_WIDE,
    Ratio,
    enough,
    exit_status,
    interval,
)
from benchmarks.targets import laid_over, missing_tools


@pytest.mark.parametrize(("count", "rank"), [(5, 1), (8, 2), (20, 6), (21, 7), (100, 42)])
def test_the_interval_lies_between_two_of_the_ordered_ratios(count: int, rank: int) -> None:
    ratios = [float(n) for n in range(count, 0, -1)]
    assert interval(ratios) == (rank, count - rank + 1)


@pytest.mark.parametrize("count", range(5, 101))
def test_the_interval_covers_90_percent_and_no_rank_more(count: int) -> None:
    low, _ = interval([float(n) for n in range(1, count + 1)])

    def covered(rank: int) -> float:
        return sum(math.comb(count, hits) for hits in range(rank, count - rank + 1)) / 2.0**count

    assert covered(int(low)) >= 0.9 > covered(int(low) + 1)


def test_too_few_ratios_have_no_interval() -> None:
    with pytest.raises(ValueError, match="needs 5 ratios, not 4"):
        interval([1.0] * 4)


def test_a_ratio_is_the_median_of_the_pairs_not_of_the_sides() -> None:
    pairs = [Pair(1, 1), Pair(2, 1), Pair(30, 10), Pair(4, 4), Pair(5, 1), Pair(60, 10)]
    found = Ratio.of([pair.ratio for pair in pairs])
    assert (found.median, found.low, found.high) == (2.5, 1, 6)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.98, 1.02, NOT_WORSE),
        (1.049, 1.08, NOT_WORSE),
        (1.05, 1.08, IS_WORSE),
        (0.97, 1.04, TOO_WIDE),
        (1.06, 1.30, IS_WORSE),
    ],
)
def test_the_verdict_looks_at_the_lower_end_and_at_the_width(
    low: float, high: float, verdict: str
) -> None:
    assert Ratio((low + high) / 2, low, high).verdict == verdict


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([NOT_WORSE, NOT_WORSE], 0),
        ([NOT_WORSE, IS_WORSE, TOO_WIDE], 1),
        ([TOO_WIDE, NOT_WORSE], 3),
    ],
)
def test_one_load_decides_the_exit_status(verdicts: list[str], status: int) -> None:
    assert exit_status(verdicts) == status


@pytest.mark.parametrize(
    ("ratios", "done"),
    [
        ([], False),
        ([1.0] * 19, False),
        ([1.0] * 20, True),
        ([0.9, 1.1] * 10, False),
        ([0.9, 1.1] * 49, False),
        ([0.9, 1.1] * 50, True),
    ],
)
def test_pairs_are_added_until_the_interval_is_narrow_or_they_are_many(
    ratios: list[float], done: bool
) -> None:
    assert enough(ratios, 20, 100) is done


def test_more_pairs_than_the_limit_may_be_asked_for() -> None:
    assert not enough([1.0] * 119, 120, 100)
    assert enough([1.0] * 120, 120, 100)


def test_the_order_of_the_sides_alternates() -> None:
    assert [order(index) for index in range(4)] == [(0, 1), (1, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize("first", [0, 1])
def test_a_steady_drift_cancels_in_the_turns(first: int) -> None:
    sequence = list(islice(turns(first), 8))
    assert sequence[0] == first
    at = [[turn for turn, side in enumerate(sequence) if side == wanted] for wanted in (0, 1)]
    assert sum(at[0]) == sum(at[1])


def test_the_loads_are_those_of_bench_quick() -> None:
    assert list(LOADS) == ["small", "burst", "prompt", "paced", "paced-tls", "open"]
    secure = [name for name, load in LOADS.items() if isinstance(load, PacedLoad) and load.tls]
    assert secure == ["paced-tls"]


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        (
            {"a": {"b": {"c": 1}, "d": 2}},
            {"a": {"b": {"e": 3}}},
            {"a": {"b": {"c": 1, "e": 3}, "d": 2}},
        ),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_a_configuration_is_laid_over_another_key_by_key(
    base: dict[str, Any], over: dict[str, Any], merged: dict[str, Any]
) -> None:
    before = repr((base, over))
    assert laid_over(base, over) == merged
    assert repr((base, over)) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Say what to compare: make bench-compare REV=<commit>"),
        (["--a", "one.yaml"], "Say what to compare"),
        (["--b", "two.yaml"], "Say what to compare"),
        (["--rev", "HEAD", "--a", "one.yaml"], "Give either REV, or A and B, not both."),
        (["--rev", "HEAD", "--pairs", "4"], "PAIRS must be at least 5"),
        (["--rev", "HEAD", "--pairs", "many"], "invalid int value: 'many'"),
        (["--rev", "HEAD", "--loads", "small,large"], "There is no load 'large'. There are: small"),
        (["--rev", "HEAD", "--loads", ","], "LOADS names no load"),
    ],
)
def test_wrong_arguments_end_with_status_2_and_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        compare.arguments(words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_tools_that_are_missing_are_named_with_their_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_tools("there") is None
    assert missing_tools("there", "not-b", "not-a") == (
        "The benchmark needs not-a, not-b. On Debian and Ubuntu: sudo apt-get install not-a not-b"
    )


def test_a_load_named_twice_is_measured_once() -> None:
    given = compare.arguments(["--rev", "HEAD", "--loads", "paced,small,paced"])
    assert (given.loads, given.pairs) == (["paced", "small"], 20)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a list", "must hold a mapping"),
        ("a: [", "is not YAML"),
        ("server: {port: 80}", "which the benchmark chooses itself"),
        ("server: {host: example.org}", "which the benchmark chooses itself"),
    ],
)
def test_a_file_that_cannot_be_laid_over_is_refused(
    text: str, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(text)
    with pytest.raises(BenchProcessFailed, match=sentence):
        compare.settings_from(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchProcessFailed, match=r"missing\.yaml cannot be read: No such file"):
        compare.settings_from(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("server: {workers: 2}", {"server": {"workers": 2}}),
        ("fitten: {chat_client: aiohttp}", {"fitten": {"chat_client": "aiohttp"}}),
    ],
)
def test_a_file_is_read_as_yaml(text: str, settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(text)
    assert compare.settings_from(file) == settings


def test_the_processor_time_of_a_process_is_that_of_its_own_clock() -> None:
    before = time.process_time()
    seen = processes.cpu_seconds(os.getpid())
    assert before <= seen <= time.process_time()


def test_the_processor_time_keeps_that_of_threads_that_have_ended() -> None:
    used = []

    def work() -> None:
        sum(range(100_000))
        used.append(time.thread_time())

    before = processes.cpu_seconds(os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert used[0] > 0
    assert processes.cpu_seconds(os.getpid()) - before >= used[0]


def test_a_process_that_has_ended_has_no_processor_time() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert processes.cpu_seconds(done.pid) == 0


def test_what_is_started_while_pinned_stays_on_that_processor() -> None:
    before = os.sched_getaffinity(0)
    code = "import os; print(*os.sched_getaffinity(0))"
    with processes.pinned(max(before)):
        output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output.split() == [str(max(before))]
    assert os.sched_getaffinity(0) == before


def test_the_table_has_a_row_for_each_load() -> None:
    pairs = {"small": [Pair(102.0, 100.0)] * 20, "burst": [Pair(2.2, 2.0)] * 20}
    ratios = {name: Ratio.of([pair.ratio for pair in found]) for name, found in pairs.items()}
    _, small, burst = compare.rows(pairs, ratios)
    assert small.split()[:6] == ["small", "request", "20", "102.00", "100.00", "1.020"]
    assert small.endswith("1.020 to 1.020   not worse than 5 %")
    assert burst.endswith("1.100 to 1.100   worse")
    assert compare.notes(pairs, ratios) == []


def test_the_notes_say_what_limits_the_table() -> None:
    pairs = {
        "small": [Pair(1, 1)] * 8,
        "burst": [Pair(0.9, 1), Pair(1.1, 1)] * 50,
        "paced": [Pair(1, 1, CROWDED + 0.1)] * 20,
    }
    ratios = {name: Ratio.of([pair.ratio for pair in found]) for name, found in pairs.items()}
    small, burst, paced = compare.notes(pairs, ratios)
    assert small == "small: fewer than 20 pairs, only a rough look."
    assert burst.startswith("burst: after 100 pairs the interval is still wider than 0.06")
    assert paced.startswith("paced: 1.25 pieces arrived at a time")


@pytest.mark.parametrize(
    ("config_args", "words"),
    [
        ("", "no PGO, no LTO"),
        ("'--prefix=/usr' '--enable-optimizations' '--with-lto'", "PGO, LTO"),
        ("'--with-lto=full' '--enable-shared'", "no PGO, LTO"),
        ("'--with-lto=no' '--enable-optimizations'", "PGO, no LTO"),
        ("'--with-lto' '--with-lto=no'", "no PGO, no LTO"),
        ("'CPPFLAGS=-I/x --with-lto-not'", "no PGO, no LTO"),
    ],
)
def test_an_interpreters_build_is_recognised_by_its_configure_arguments(
    config_args: str, words: str
) -> None:
    assert machine.build(config_args) == words


def test_the_machines_line_names_each_event_loop_once_and_no_path() -> None:
    line = machine.line(["uvloop", "uvloop"])
    assert "event loop uvloop," in line
    assert "/" not in line
    assert "event loop asyncio and uvloop," in machine.line(["asyncio", "uvloop"])


def test_the_event_loop_is_recognised_by_what_a_process_has_loaded() -> None:
    code = "import sys; {}; print(flush=True); sys.stdin.read()"
    for statement, name in (("import uvloop", "uvloop"), ("import asyncio", "asyncio")):
        with subprocess.Popen(
            [sys.executable, "-c", code.format(statement)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout
            process.stdout.readline()
            assert machine.event_loop(process.pid) == name
            process.communicate(b"")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, and a working tree that differs from it."""
    root = tmp_path / "repository"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "runtime.txt").write_text("lock\n")
    (root / "name.txt").write_text("old\n")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git = ["git", "-C", str(root), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "One"]):
        subprocess.run([*git, *words], check=True)
    (root / "name.txt").write_text("new\n")
    monkeypatch.setattr(revision, "ROOT", root)
    monkeypatch.setattr(revision, "_CACHE", root / ".cache")
    return root


def test_a_commit_is_written_beside_the_working_tree(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "side"
    folder.mkdir()
    tree = revision.check_out(revision.resolve("HEAD"), folder)
    assert (tree / "name.txt").read_text() == "old\n"
    assert (repository / "name.txt").read_text() == "new\n"
    assert revision.working_tree().endswith(" with changes that are not committed")
    (repository / "name.txt").write_text("old\n")
    assert revision.working_tree().endswith(revision.resolve("HEAD")[:7])


@pytest.mark.parametrize("name", ["nothing", "", "--all", "HEAD:name.txt"])
def test_a_name_of_no_commit_is_refused(name: str, repository: Path) -> None:
    with pytest.raises(BenchProcessFailed, match="There is no commit"):
        revision.resolve(name)


def test_a_commit_without_a_lock_is_refused(repository: Path, tmp_path: Path) -> None:
    git = ["git", "-C", str(repository), "-c", "user.name=Test", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "rm", "--quiet", "-r", "requirements"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "Two"], check=True)
    with pytest.raises(BenchProcessFailed, match="too old to be compared"):
        revision.check_out(revision.resolve("HEAD"), tmp_path)


def test_the_same_lock_takes_this_interpreter(repository: Path) -> None:
    assert revision.interpreter(repository) == Path(sys.executable)


def test_another_lock_takes_the_environment_that_was_built_from_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def build(command: list[str]) -> None:
        commands.append(command)
        if command[1:3] == ["-m", "venv"]:
            Path(command[-1]).mkdir(parents=True)

    monkeypatch.setattr(revision, "_build", build)
    lock = tmp_path / "other" / "requirements" / "runtime.txt"
    lock.parent.mkdir(parents=True)
    lock.write_text("another lock\n")
    python = revision.interpreter(tmp_path / "other")
    assert python.is_relative_to(repository / ".cache")
    assert commands[0][1:3] == ["-m", "venv"]
    assert commands[1][0] == str(python)
    assert commands[1][-3:] == ["--require-hashes", "-r", str(lock)]
    assert revision.interpreter(tmp_path / "other") == python
    assert len(commands) == 2, "it was built again"
    lock.write_text("a third lock\n")
    assert revision.interpreter(tmp_path / "other") != python
