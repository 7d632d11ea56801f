"""The record of a request: one event a method, and no other code writes it."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from gateway.errors import Cause, GatewayError, InvalidRequest, NotFound, RateLimited, UpstreamError
from gateway.fitten.error_mapping import status_error
from gateway.generation.outcome import AnswerResult, Outcome, Usage

ROOT = Path(__file__).parents[3]
SOURCES = sorted(p for tree in ("gateway", "middlewares") for p in (ROOT / tree).rglob("*.py"))
FIELDS = {field.name for field in dataclasses.fields(Outcome)}


def writes(path: Path) -> Iterator[str]:
    """Every assignment to an attribute of something that is named like an outcome."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Attribute) and "outcome" in ast.unparse(part.value).lower():
                    yield f"{path.relative_to(ROOT)}:{part.lineno}: {ast.unparse(target)}"


# Anthropic's SDKs act on this code. For counts it is one more `invalid_request`.
# The other one is the answer of the admin API when the ledger cannot be read.
NO_CAUSE = {"thread_unsupported_request", "store_unavailable"}
# What only the admin API answers: its requests are not counted by cause.
ADMIN = (ROOT / "gateway" / "admin", ROOT / "gateway" / "keys")
CODED = [path for path in SOURCES if not any(path.is_relative_to(place) for place in ADMIN)]


def codes(path: Path) -> Iterator[str]:
    """Every literal that becomes the code of an error."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case (
                ast.keyword(arg="code", value=ast.Constant(value=str(code)))
                | ast.Assign(targets=[ast.Name("code")], value=ast.Constant(value=str(code)))
                | ast.AnnAssign(target=ast.Name("code"), value=ast.Constant(value=str(code)))
            ):
                yield code


def test_only_the_methods_of_the_outcome_write_it() -> None:
    assert [line for path in SOURCES if path.name != "outcome.py" for line in writes(path)] == []


def test_every_code_of_the_gateway_is_a_cause() -> None:
    found = {code for path in CODED for code in codes(path)} - NO_CAUSE
    assert len(found) > 20
    assert found <= set(get_args(Cause))


def test_every_cause_is_a_code_or_a_default() -> None:
    found = {code for path in CODED for code in codes(path)} - NO_CAUSE
    defaults = {"client_closed_request", "invalid_request", "not_found", "internal_error"}
    others = {"upstream_too_long", "upstream_repetition"}  # chat/runaway passes them on
    assert found | defaults | others == set(get_args(Cause))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (InvalidRequest("no"), "invalid_request"),
        (NotFound("no"), "not_found"),
        (NotFound("no", code="model_not_found"), "model_not_found"),
        (RateLimited("no"), "rate_limit_exceeded"),
        (RateLimited("no", code="our_own"), "rate_limit_exceeded"),
        (InvalidRequest("no", code="our_own"), "invalid_request"),
        (GatewayError("no", code="our_own"), "internal_error"),
    ],
)
def test_a_code_that_is_not_in_the_list_has_the_cause_of_its_class(
    error: GatewayError, cause: str
) -> None:
    assert error.cause == cause


def test_a_new_outcome_runs() -> None:
    outcome = Outcome()
    assert (outcome.ended, outcome.end, outcome.status, outcome.finished) == (None,) * 4


def test_a_whole_answer() -> None:
    outcome = Outcome()
    outcome.estimate_prompt(7)
    outcome.leave_queue(0.5)
    outcome.try_account("one")
    outcome.receive_status(200)
    outcome.receive_first_piece()
    first = outcome.first_piece
    outcome.receive_first_piece()
    outcome.receive_result(AnswerResult(Usage(9, 2), ("stop",), "END"))
    outcome.complete(200, 50)
    assert outcome.first_piece == first is not None
    assert outcome.finished is not None
    assert outcome.started <= first <= outcome.finished
    assert (outcome.ended, outcome.end, outcome.cause) == ("complete", "complete", None)
    assert (outcome.account, outcome.tries, outcome.upstream_status) == ("one", 1, 200)
    assert (outcome.prompt_tokens, outcome.queued, outcome.bytes_sent) == (7, 0.5, 50)
    assert (outcome.usage, outcome.finish_reasons) == (Usage(9, 2), ("stop",))
    assert outcome.stop_sequence == "END"


def test_a_failure_says_why_and_where() -> None:
    outcome = Outcome()
    outcome.fail(InvalidRequest("'n' must be 1.", code="unsupported_value", param="n"))
    assert (outcome.status, outcome.ended, outcome.end) == (400, "failed", "unsupported_value")
    assert (outcome.cause, outcome.message, outcome.param) == (
        "unsupported_value",
        "'n' must be 1.",
        "n",
    )


def test_a_failure_of_the_upstream_has_its_status() -> None:
    outcome = Outcome()
    outcome.receive_status(200)
    outcome.fail(UpstreamError("broke off"), status=200)
    assert (outcome.status, outcome.upstream_status) == (200, 200)
    outcome.fail(status_error(503))
    assert (outcome.status, outcome.upstream_status) == (502, 503)


def test_the_last_event_decides_how_a_request_ended() -> None:
    outcome = Outcome()
    outcome.fail(RateLimited("no"))
    outcome.complete(202, 2)
    assert (outcome.status, outcome.end, outcome.cause, outcome.message) == (
        202,
        "complete",
        None,
        None,
    )
    outcome.lose_client()
    assert (outcome.status, outcome.ended, outcome.end) == (
        499,
        "client_left",
        "client_closed_request",
    )


def test_the_estimate_is_that_of_the_first_prompt_and_the_sent_bytes_stay() -> None:
    outcome = Outcome()
    outcome.estimate_prompt(7)
    outcome.estimate_prompt(9)
    outcome.send(10)
    outcome.complete(200, 50)
    assert (outcome.prompt_tokens, outcome.bytes_sent) == (7, 10)


def test_usage_adds_up() -> None:
    assert Usage(1, 2, 3) + Usage(10, 20, 30, estimated=True) == Usage(11, 22, 33, estimated=True)


def test_every_field_is_described() -> None:
    described = Outcome.__doc__ or ""
    own_names = {"started", "first_piece", "finished", "ended"}  # their names say it
    assert [name for name in FIELDS - own_names if name not in described] == []
