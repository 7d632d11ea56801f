"""Implements `doctor --tools`: which notation of tool calls fits a model best."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

from gateway.config.settings import Config, LogSettings, Notation, ToolSettings
from gateway.doctor import report
from gateway.doctor.report import TurnResult
from gateway.doctor.tool_cases import CASES, ToolCase, characters_of, turns_of
from gateway.doctor.tool_turns import ToolTurns, open_turns
from gateway.errors import GatewayError, NotFound
from gateway.generation.model import Model
from gateway.observability import logging as log
from gateway.redaction import Redactor, os_error_text
from gateway.store.state_lock import StateLock

MEASURED: tuple[Notation, ...] = tuple(n for n in get_args(Notation) if n != "auto")
"""The notations that are measured unless some are named; `auto` is one of them at a time."""

_FAILED = 1  # Fitten did not let the doctor in, or no notation worked
_REFUSED = 2  # nothing was sent: something must be changed before
_INTERRUPTED = 130  # as of a process that SIGINT ended

_INSTRUCTIONS = 1500  # about the characters by which a notation makes a prompt longer
_HEALTH_TIMEOUT = 2.0  # seconds
_MAX_FAILURES = 3  # turns in a row; then Fitten fails, not the notation
_FEW = 0.8  # of the calls: with fewer exact ones a model hardly suits agents


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """Holds the options of the command line.

    model: the name of the model; None for the default. notations: empty for all.
    confirmed: whether nobody needs to be asked before chats are sent.
    """

    model: str | None = None
    notations: tuple[str, ...] = ()
    as_json: bool = False
    confirmed: bool = False


def check_tools(config: Config, options: DoctorOptions, cases: tuple[ToolCase, ...] = CASES) -> int:
    """Measure the notations and print the best; return the exit status.

    The result goes to stdout, everything else to stderr.
    """
    unknown = [name for name in options.notations if name not in MEASURED]
    if unknown:
        return _refuse(f"--notation: expected {' or '.join(MEASURED)}, not {unknown[0]!r}.")
    # As a dictionary, since a notation may be named twice.
    notations = tuple(dict.fromkeys(cast("tuple[Notation, ...]", options.notations) or MEASURED))
    redactor = Redactor(config.secrets())
    settings = LogSettings(level="warning", format="console")
    try:
        with StateLock() as lock, contextlib.closing(log.configure_logging(settings, redactor)):
            if fault := _use_fault(lock, config) or _gateway_fault(config):
                return _refuse(fault)
            if fault := _confirmation_fault(config, options, cases, notations):
                return _refuse(fault)
            return asyncio.run(_measure(config, options, cases, notations, redactor))
    except KeyboardInterrupt:
        _say("\nInterrupted; nothing was measured to the end.")
        return _INTERRUPTED


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse(fault: str) -> int:
    _say(f"doctor: {fault}")
    return _REFUSED


def _use_fault(lock: StateLock, config: Config) -> str | None:
    """Return why the accounts must not be used now; None when this process is their only user."""
    file = config.state_file
    try:
        if lock.take(file):
            return None
    except OSError as error:
        return (
            f"The state file {file} cannot be locked: {os_error_text(error)}. "
            "Run doctor as the user that the gateway runs as."
        )
    return (
        f"A gateway, or another doctor, uses the accounts of {file}. Stop it first: "
        "a second login of an account may end the sessions of the first."
    )


def _gateway_fault(config: Config) -> str | None:
    """Return that a gateway answers at the configured address; None when there is none.

    Such a gateway may have another state file by its environment, as a service of systemd has,
    or it may be of a version that takes no lock.
    """
    host, port = config.server.host, config.server.port
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    if port == 0 or not _is_gateway(host, port):
        return None
    return (
        f"A gateway answers at port {port} of {host}. Stop it first: a second login of an account "
        "may end the sessions of the first. If it uses other accounts, use another server.port."
    )


def _is_gateway(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_HEALTH_TIMEOUT)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status == 200 and json.loads(response.read(1000)) == {"status": "ok"}
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _confirmation_fault(
    config: Config,
    options: DoctorOptions,
    cases: tuple[ToolCase, ...],
    notations: Sequence[Notation],
) -> str | None:
    """Say what it will cost and ask whether to go on; return why not, or None."""
    turns = turns_of(cases)
    count = len(turns) * len(notations)
    characters = len(notations) * sum(characters_of(case) + _INSTRUCTIONS for case in turns)
    _say(
        f"doctor --tools sends {len(turns)} chats for each of: {', '.join(notations)}.\n"
        f"That is {count} chats, with about {round(characters, -3):,} characters of prompts.\n"
        f"They use one account, the first of fitten.accounts: {config.fitten.accounts[0].username}."
    )
    if config.tools.repair:
        _say("A broken or an empty answer is asked for once more; this is counted too.")
    if options.confirmed:
        return None
    if not sys.stdin.isatty():
        return "Nothing was sent: there is no terminal to ask for confirmation. Add --yes."
    print("Continue? [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip().casefold()
    return None if answer in ("y", "yes") else "Nothing was sent."


async def _measure(
    config: Config,
    options: DoctorOptions,
    cases: tuple[ToolCase, ...],
    notations: Sequence[Notation],
    redactor: Redactor,
) -> int:
    """Log in, run all turns and print the result; return the exit status."""
    try:
        async with open_turns(config, notations, redactor.add) as turns:
            try:
                model = turns.resolve(options.model)
            except NotFound:
                known = ", ".join(turns.models())
                return _refuse(f"--model: there is no model {options.model!r}; known: {known}.")
            results = await _run(turns, cases, notations, model)
    except TimeoutError:
        _say("doctor: Fitten did not answer the login in time.")
        return _FAILED
    except GatewayError as error:
        _say(f"doctor: The login failed. {error.message}")
        return _FAILED
    complete = all(len(found) == len(turns_of(cases)) for found in results.values())
    return _print_result(config, options, model, results, complete=complete)


async def _run(
    turns: ToolTurns, cases: tuple[ToolCase, ...], notations: Sequence[Notation], model: Model
) -> dict[Notation, list[TurnResult]]:
    """Run all turns, and stop when Fitten fails several times in a row.

    The notations take turns, so that a slow minute of Fitten's is one for all of them.
    """
    results: dict[Notation, list[TurnResult]] = {notation: [] for notation in notations}
    todo = turns_of(cases)
    failures = 0
    for number, case in enumerate(todo, 1):
        for notation in notations:
            result, sentence = await turns.run(case, notation, model)
            results[notation].append(result)
            verdict = f"{result.verdict}: {sentence}" if sentence else result.verdict
            _say(f"{notation} {number}/{len(todo)} {case.name}: {verdict}")
            failures = failures + 1 if result.failure else 0
            if failures == _MAX_FAILURES:
                _say(f"Stopped: {failures} turns failed one after another.")
                return results
    return results


def _print_result(
    config: Config,
    options: DoctorOptions,
    model: Model,
    results: dict[Notation, list[TurnResult]],
    *,
    complete: bool,
) -> int:
    """Print the table, or JSON, and the line of configuration; return the exit status.

    complete: whether all turns were run; without that no notation is the best.
    """
    summaries = [report.summarize(notation, found) for notation, found in results.items()]
    winner = report.best(summaries) if complete else None
    line = config_line(config.tools, model.id, winner.label) if winner else None
    if options.as_json:
        data = {
            "model": model.id,
            "notations": [report.as_data(*item) for item in results.items()],
            "winner": winner and winner.label,
            "config": line,
        }
        print(report.as_json(data), flush=True)
        return 0 if winner else _FAILED
    print(f"\nModel {model.id}\n\n{report.table(summaries)}\n")
    for notation, found in results.items():
        if text := report.missed(notation, found):
            print(text)
    if winner is None:
        print("No notation worked." if complete else "The turns were not run to the end.")
        return _FAILED
    if winner.exact < _FEW * winner.call_turns:
        print(f"Even with {winner.label}, only {winner.exact} of {winner.call_turns} were exact.")
    print(f"\nThe best notation, for config.yaml:\n\n{line}", flush=True)
    return 0


def config_line(tools: ToolSettings, model: str, notation: str) -> str:
    """Return the section `tools` with this notation for a model, in one line.

    It keeps what the configuration says besides. A model's name is a pattern there, so the
    characters of patterns in it are put in brackets, as in `[*]`.
    """
    usual = ToolSettings()
    kept = {} if tools.notation == usual.notation else tools.notation
    pattern = "".join(f"[{c}]" if c in "*?[" else c for c in model)
    entries = ", ".join(
        f"{json.dumps(name, ensure_ascii=False)}: {value}"
        for name, value in {**kept, pattern: notation}.items()
    )
    repair = "" if tools.repair == usual.repair else f", repair: {json.dumps(tools.repair)}"
    return f"tools: {{notation: {{{entries}}}{repair}}}"
