"""A model of the upstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the upstream: the id callers use and what the upstream calls it."""

    id: str
    display_name: str
    selection_name: str | None
    section: Literal["chat", "agent"]
    is_default: bool = False
