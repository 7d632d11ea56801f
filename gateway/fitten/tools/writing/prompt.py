"""Writes tools, calls and tool results into the prompt (protocol 4.6). No I/O.

Fitten has no other way to take them. The system block describes the tools, calls stand in turns
of the assistant, results in turns of the user. The configuration chooses the notation.
"""

from __future__ import annotations

from gateway.config.settings import Notation
from gateway.fitten.tools.writing import hybrid_notation, json_notation
from gateway.fitten.tools.writing.signatures import BUDGET
from gateway.fitten.tools.writing.written_tools import WrittenTools
from gateway.generation.request import GenerationRequest


def needs_tools(request: GenerationRequest) -> bool:
    """Return whether a request offers tools or has calls in its messages."""
    # A list costs less than a generator.
    return bool((request.tools and request.offered) or [m for m in request.messages if m.calls])


def write_tools(
    request: GenerationRequest,
    notation: Notation,
    *,
    default_system: str,
    key: bytes,
    budget: int = BUDGET,
) -> WrittenTools:
    """Return the messages of the request with tools, calls and results as text.

    notation: `auto` is the hybrid one for every model, until measurements say otherwise.
    default_system: the system text for a request that has none.
    key: the gateway's secret, from which the value of the blocks is made.
    budget: characters of the list of tools beyond which descriptions are shortened; `json` has
        none.
    Raises InvalidRequest when the text is too long.
    """
    if notation == "json":
        return json_notation.write_tools(request, default_system)
    return hybrid_notation.write_tools(request, default_system, key, budget)
