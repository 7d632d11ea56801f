"""What a seed makes."""

from __future__ import annotations

import json

import pytest

from chaos.fault import FAULTS, ChaosFault, read
from chaos.fault_schedule import mixed, storms
from chaos.faults_run import EVENTS, KINDS
from chaos.plan import Planner, events


def test_a_seed_gives_the_same_requests_and_another_gives_others() -> None:
    def made(seed: int) -> list[object]:
        return list(Planner(seed, name="x", trouble=mixed(0.5)).at_rate(20, 5, KINDS))

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_every_request_names_itself_to_the_proxy() -> None:
    for request in Planner(1, name="x", trouble=mixed(0.5)).at_rate(20, 10, KINDS):
        text = json.dumps(request.body, ensure_ascii=False).encode()
        assert read(text) == (request.tag, request.trouble.fault)


def test_every_kind_of_fault_is_drawn() -> None:
    requests = Planner(1, name="x", trouble=mixed(0.25)).at_rate(20, 13, KINDS)
    kinds = {r.trouble.fault.kind for r in requests if r.trouble.fault}
    assert kinds == set(FAULTS)


@pytest.mark.parametrize("text", [b"", b"fault=reset:1:1", b"tag=x fault=other:1:1"])
def test_what_asks_for_no_known_fault_gets_none(text: bytes) -> None:
    assert read(text)[1] is None


def test_a_fault_is_read_as_it_was_written() -> None:
    fault = ChaosFault("reset", 12, 3)
    assert read(f"tag=a-1 {fault}".encode()) == ("a-1", fault)


def test_storms_end_before_the_time_does() -> None:
    requests = list(Planner(1, name="x", trouble=storms(10, 2)).at_rate(50, 10, KINDS))
    faulty = [r.at for r in requests if r.trouble.fault or r.trouble.marker]
    assert faulty
    assert max(faulty) < 6.5
    assert any("429" in r.trouble.marker for r in requests)


@pytest.mark.parametrize(("seconds", "every"), [(13.0, 2.1), (240.0, 12.0)])
def test_every_event_happens_and_none_in_the_last_third(seconds: float, every: float) -> None:
    for seed in range(20):
        plan = events(seed, seconds, every, EVENTS)
        assert {event.kind for event in plan} == set(EVENTS)
        assert max(event.at for event in plan) < seconds * 0.72
