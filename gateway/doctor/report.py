"""Sums up the turns of each notation, finds the best one, and prints both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.doctor.grading import Grade
from gateway.doctor.tool_cases import ToolCase


@dataclass(frozen=True, slots=True)
class TurnResult:
    """Describes what came of one turn.

    failure: why there is no answer; None when there is one.
    characters_in, characters_out: of the prompt and of what the model wrote, over all answers
        that the turn took. repairs: how many answers it took besides the first.
    """

    case: ToolCase
    grade: Grade
    failure: str | None
    characters_in: int
    characters_out: int
    repairs: int
    seconds: float

    @property
    def verdict(self) -> str:
        """Return one or two words about the turn."""
        if self.failure is not None:
            return "failed"
        if self.grade.false_calls:
            return "false call"
        if not self.case.calls:
            return "answered" if self.grade.answered else "wrong answer"
        if self.grade.exact:
            return "exact"
        return "not exact" if self.grade.valid else "no valid call"

    @property
    def good(self) -> bool:
        """Return whether the turn went as it should."""
        return self.verdict in ("exact", "answered")


@dataclass(frozen=True, slots=True)
class ToolSummary:
    """Counts over all turns of one notation; `label` is its name."""

    label: str
    turns: int
    call_turns: int
    valid: int
    exact: int
    false_calls: int
    answered: int
    failures: int
    repairs: int
    characters_in: int
    characters_out: int
    seconds: float

    @property
    def worked(self) -> bool:
        """Return whether any call was valid."""
        return self.valid > 0

    @property
    def rank(self) -> tuple[int, ...]:
        """Return what notations are compared by, larger is better.

        Exactness comes first, since a wrong byte in a file is seen late. False calls and
        failures come before characters, which only cost time.
        """
        others = self.false_calls + self.failures
        return (self.exact, self.valid, -others, -self.characters_in - self.characters_out)


def summarize(label: str, results: Sequence[TurnResult]) -> ToolSummary:
    """Sum up the turns of a notation."""
    grades = [result.grade for result in results]
    return ToolSummary(
        label=label,
        turns=len(results),
        call_turns=sum(bool(result.case.calls) for result in results),
        valid=sum(grade.valid for grade in grades),
        exact=sum(grade.exact for grade in grades),
        false_calls=sum(grade.false_calls for grade in grades),
        answered=sum(grade.answered for grade in grades),
        failures=sum(result.failure is not None for result in results),
        repairs=sum(result.repairs for result in results),
        characters_in=sum(result.characters_in for result in results),
        characters_out=sum(result.characters_out for result in results),
        seconds=round(sum(result.seconds for result in results), 1),
    )


def best(summaries: Sequence[ToolSummary]) -> ToolSummary | None:
    """Return the best notation; None when none had a valid call."""
    return max((s for s in summaries if s.worked), key=lambda s: s.rank, default=None)


_HEAD = (
    *("", "valid calls", "exact arguments", "false calls", "answers", "failures", "repairs"),
    *("characters in", "out", "seconds"),
)


def table(summaries: Sequence[ToolSummary]) -> str:
    """Return the table of all notations."""
    rows = [_HEAD, *map(_row, summaries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _row(summary: ToolSummary) -> tuple[str, ...]:
    text_turns = summary.turns - summary.call_turns
    return (
        summary.label,
        f"{summary.valid}/{summary.call_turns}",
        f"{summary.exact}/{summary.call_turns}",
        str(summary.false_calls),
        f"{summary.answered}/{text_turns}",
        str(summary.failures),
        str(summary.repairs),
        f"{summary.characters_in:,}",
        f"{summary.characters_out:,}",
        f"{summary.seconds:.1f}",
    )


def missed(label: str, results: Sequence[TurnResult]) -> str:
    """Return a line per case whose turns did not go as they should; empty without any."""
    counts = Counter((r.case.name, r.verdict) for r in results if not r.good)
    lines = [f"  {name}: {verdict} ({count})" for (name, verdict), count in counts.items()]
    return "\n".join([f"{label} missed:", *lines]) if lines else ""


def as_data(label: str, results: Sequence[TurnResult]) -> dict[str, Any]:
    """Return the sums of a notation and each of its turns as plain data."""
    turns = [
        {
            "case": result.case.name,
            "verdict": result.verdict,
            **asdict(result.grade),
            "failure": result.failure,
            "characters_in": result.characters_in,
            "characters_out": result.characters_out,
            "repairs": result.repairs,
            "seconds": round(result.seconds, 3),
        }
        for result in results
    ]
    sums = asdict(summarize(label, results))
    return {**sums, "runs": turns}


def as_json(data: Any) -> str:
    """Return data as JSON for programs."""
    return json.dumps(data, indent=2, ensure_ascii=False)
