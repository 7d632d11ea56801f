"""A name can be read, and does not change how the text around it looks."""

from __future__ import annotations

import pytest

from gateway.keys.names import name_fault


@pytest.mark.parametrize(
    "name", ["alice", "Alice B.", "小明", "=cmd()", "\N{ROCKET}" * 64, "a" * 64, "naïve"]
)
def test_printable_names_are_allowed(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "empty"),
        ("a" * 65, "65 characters"),
        ("al\nice", "control"),
        ("al\x00ice", "control"),
        ("ali\N{RIGHT-TO-LEFT OVERRIDE}ce", "direction"),
        ("\N{RIGHT-TO-LEFT MARK}alice", "direction"),
        ("al\N{ZERO WIDTH SPACE}ice", "control"),
        ("al\udcffice", "control"),
        (" alice", "blank"),
        ("alice ", "blank"),
    ],
)
def test_other_names_are_refused_with_a_reason(name: str, fault: str) -> None:
    assert fault in (name_fault(name) or "")
