"""Lists models as Codex reads them (`ModelInfo` in codex-rs/protocol/src/openai_models.rs)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.openai.responses.dialect import ResponsesDialect
from gateway.generation.model import Model

# Codex takes the instructions of a listed model from the list. They replace its own ones.
_INSTRUCTIONS = """\
You are Codex, a coding agent in a terminal. You and the user share one folder.

- Read the files that matter before you change them. Make the smallest change that does what the
  user asks, in the style of the code around it.
- Use the shell tool for commands. Change files with `apply_patch`.
- Run the tests or the program that shows that your change works, if there are any.
- Do not stop before the task is done. If you cannot do it, say why.
- At the end, say in a few sentences what you changed and how you checked it.
"""
_TRUNCATED_AT = 10_000  # tokens of a command's output that Codex passes on; its own default


class CodexCatalog(ResponsesDialect):
    """Renders models for `GET /v1/models?client_version=...`; all else as the Responses API."""

    def models_body(self, models: Sequence[Model]) -> bytes:
        """Return `{"models": [...]}`, the best one first."""
        listed = [_entry(model, priority) for priority, model in enumerate(models)]
        return msgspec.json.encode({"models": listed})

    def model_body(self, model: Model) -> bytes:
        """Return one entry of the list."""
        return msgspec.json.encode(_entry(model, 0))


def _entry(model: Model, priority: int) -> dict[str, Any]:
    return {
        "slug": model.id,
        "display_name": model.display_name,
        "description": None,
        "supported_reasoning_levels": [],
        "shell_type": "unified_exec",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "upgrade": None,
        "availability_nux": None,
        "base_instructions": _INSTRUCTIONS,
        "supports_reasoning_summaries": False,
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": None,
        "truncation_policy": {"mode": "tokens", "limit": _TRUNCATED_AT},
        "supports_parallel_tool_calls": True,
        "context_window": model.context_window or None,
        "experimental_supported_tools": [],
        "input_modalities": ["text", "image"],
    }
