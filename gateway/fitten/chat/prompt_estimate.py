"""Estimates the size of a prompt from a request, without writing the prompt. No I/O.

A client that counts tokens does so often, and for many parts of a conversation at once. Writing
the prompt would take longer than reading the request.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.config.settings import Notation
from gateway.generation import token_estimate
from gateway.generation.request import GenerationRequest, Tool

_FRAME = len("<||>\n\n<|end|>\n") + len("user")  # of one turn
_ENDS = len("<|system|>\n\n<|end|>\n<|assistant|>")
_CALL = 60  # characters that the notation adds to a call or a result, besides ids and names
# The text about calls, the text of each tool besides what the client sent, and the part of a JSON
# schema that stays, by notation. Measured with the tools of coding agents.
_INTRODUCTION = {"json": 1000, "hybrid": 1750}
_EACH_TOOL = {"json": 60, "hybrid": 5}
_SCHEMA = {"json": 1.0, "hybrid": 0.5}
_MOST = {"json": float("inf"), "hybrid": 40_000}  # descriptions are shortened beyond it
_FORMAT = 250  # characters of the text about a response format


def prompt_bytes(request: GenerationRequest, notation: Notation, default_system: str) -> int:
    """Return about how many bytes of UTF-8 the prompt of a request has, without images."""
    messages = request.messages
    texts = [message.text for message in messages]
    size = _ENDS + _FRAME * len(messages)
    if not messages or messages[0].role != "system":
        texts.append(default_system)
    calls = [call for message in messages if message.calls for call in message.calls]
    if calls:
        texts += [call.arguments for call in calls]
        texts += [call.name for call in calls]
        size += 2 * _CALL * len(calls)
    if request.tools and request.offered:
        size += _tools_bytes(request.offered, "json" if notation == "json" else "hybrid")
    if request.response_format is not None:
        size += _FORMAT + len(msgspec.json.encode(request.response_format.schema))
    return size + token_estimate.size("".join(texts))


def _tools_bytes(tools: Sequence[Tool], notation: str) -> int:
    schemas = [(tool.name, tool.parameters) for tool in tools]
    schema_bytes = len(msgspec.json.encode(schemas))
    # The hybrid notation writes a description once that several tools have.
    descriptions = [tool.description for tool in tools]
    once = descriptions if notation == "json" else dict.fromkeys(descriptions)
    described = token_estimate.size("".join(once))
    listed = described + _EACH_TOOL[notation] * len(tools) + _SCHEMA[notation] * schema_bytes
    return _INTRODUCTION[notation] + int(min(listed, _MOST[notation]))
