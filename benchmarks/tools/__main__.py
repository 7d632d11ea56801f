"""Runs the turns of `doctor --tools` over any OpenAI-compatible endpoint, or the emulator.

    python -m benchmarks.tools --url http://127.0.0.1:5000/v1 --key KEY [--model NAME]
    python -m benchmarks.tools --emulator

The exit status is 0 when a call was valid, else 1, or 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp

from benchmarks.processes import BenchProcessFailed
from benchmarks.tools.emulated import emulated_turns
from benchmarks.tools.endpoint import ToolEndpoint
from gateway.doctor import report
from gateway.doctor.command import MEASURED
from gateway.doctor.report import TurnResult
from gateway.doctor.tool_cases import CASES, ToolCase, turns_of

_RunTurn = Callable[[ToolCase], Awaitable[tuple[TurnResult, str]]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; return the exit status."""
    given = _parser().parse_args(argv)
    try:
        results = asyncio.run(_emulated(given) if given.emulator else _endpoint(given))
    except BenchProcessFailed as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    summaries = [report.summarize(label, turns) for label, turns in results.items()]
    print(f"\n{report.table(summaries)}\n")
    for label, turns in results.items():
        if text := report.missed(label, turns):
            print(text)
    if given.json:
        data = [report.as_data(label, turns) for label, turns in results.items()]
        given.json.write_text(report.as_json(data) + "\n", "utf-8")
    return 0 if any(summary.worked for summary in summaries) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tools")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--url", help="the endpoint's address up to /v1")
    target.add_argument(
        "--emulator", action="store_true", help="a gateway and the emulator, once per notation"
    )
    parser.add_argument("--key", default="none", help="the API key of the endpoint")
    parser.add_argument("--model", help="the model; the endpoint's default unless given")
    parser.add_argument("--runs", type=int, default=1, help="repeat all turns so often")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every turn to a file")
    return parser


async def _endpoint(given: argparse.Namespace) -> dict[str, list[TurnResult]]:
    headers = {"Authorization": f"Bearer {given.key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        endpoint = ToolEndpoint(http, given.url, given.model)
        label = given.model or "default"
        return {label: await _run(label, endpoint.run, given.runs)}


async def _emulated(given: argparse.Namespace) -> dict[str, list[TurnResult]]:
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench-tools-") as folder:
        for notation in MEASURED:
            async with emulated_turns(notation, Path(folder)) as turns:
                results[str(notation)] = await _run(notation, turns.run, given.runs)
    return results


async def _run(label: str, run: _RunTurn, runs: int) -> list[TurnResult]:
    results = []
    for case in turns_of(CASES) * runs:
        result, sentence = await run(case)
        results.append(result)
        verdict = f"{result.verdict}: {sentence}" if sentence else result.verdict
        print(f"{label} {case.name}: {verdict}", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
