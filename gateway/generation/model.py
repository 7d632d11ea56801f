"""Defines the model of a generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Model:
    """Describes a model of the upstream.

    id: the name that clients use. selection_name: the upstream's own name for it, or None.
    context_window: how many tokens a conversation may have; 0 where it is not known.
    """

    id: str
    display_name: str
    selection_name: str | None
    section: Literal["chat", "agent"]
    is_default: bool = False
    context_window: int = 0

    @property
    def typed_id(self) -> str:
        """Return the id as it is easy to type: `deepseek-v3` for `DeepSeek V3`."""
        return "-".join(self.id.lower().split())
