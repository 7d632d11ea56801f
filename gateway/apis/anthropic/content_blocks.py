"""Reads the blocks of a message: texts, images, calls of tools and their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.json_body import json_text
from gateway.apis.message_contents import MessageContents, check_part_count, count_images
from gateway.apis.parameters import missing_parameter
from gateway.errors import InvalidRequest
from gateway.generation.request import Image, Message, RemoteImage, Role, ToolCall
from gateway.images.sniff import ImageLimits, image_from_url
from gateway.redaction import word

# Thoughts of earlier answers are no part of the conversation.
_THOUGHTS = frozenset(("thinking", "redacted_thinking"))
_ALLOWED = "text, image, tool_use, tool_result, thinking, redacted_thinking"
# Claude Code wraps the input of a call so if it could not parse it.
UNPARSED = "__unparsedToolInput"


class BlockSource(msgspec.Struct, gc=False):
    """Declares the `source` of an image."""

    type: str | None = None
    data: str | None = None
    url: str | None = None


class ContentBlock(msgspec.Struct, gc=False):
    """Declares an item of `content`; unknown members are ignored."""

    type: str
    text: str | msgspec.UnsetType | None = msgspec.UNSET
    source: BlockSource | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: str | list[ContentBlock | str] | None = None
    is_error: bool | None = None


def read_blocks(
    blocks: Sequence[ContentBlock | str], role: Role, path: str, limits: ImageLimits
) -> MessageContents:
    """Read the blocks of a message.

    role: of the message; "tool" for the content of a result. path: where the blocks are in the
    request. Raises InvalidRequest for blocks that cannot be read, or that such a message cannot
    have.
    """
    check_part_count(len(blocks), path, "blocks")
    read = MessageContents()
    image_count = 0  # those in results of tools included
    for index, block in enumerate(blocks):
        if isinstance(block, str):
            read.texts.append(block)
            continue
        here = f"{path}[{index}]"
        kind = block.type
        if kind == "text":
            if block.text is msgspec.UNSET:
                raise missing_parameter(f"{here}.text")
            read.texts.append(block.text or "")
        elif kind == "image" and role != "system":
            image_count = count_images(image_count, 1, path)
            read.images.append(_image(block, here, limits))
        elif kind == "tool_use" and role == "assistant":
            read.calls.append(_call(block, here))
        elif kind == "tool_result" and role == "user":
            result = _result(block, here, limits)
            image_count = count_images(image_count, len(result.images), path)
            read.results.append(result)
        elif kind not in _THOUGHTS:
            raise InvalidRequest(
                f"Blocks of type '{word(kind)}' are not supported here; allowed, each where it "
                f"belongs: {_ALLOWED}.",
                code="unsupported_value",
                param=f"{here}.type",
            )
    return read


def _image(block: ContentBlock, here: str, limits: ImageLimits) -> Image | RemoteImage:
    source = block.source
    if source is None:
        raise missing_parameter(f"{here}.source")
    if source.type not in (None, "base64", "url"):
        raise InvalidRequest(
            "The source of an image must be 'base64' or 'url'; the gateway keeps no files.",
            code="unsupported_value",
            param=f"{here}.source.type",
        )
    if source.data is not None:
        # The type that the client names may be wrong; the bytes show the right one.
        return image_from_url(f"data:;base64,{source.data}", limits, f"{here}.source.data")
    if source.url is None:
        missing = "url" if source.type == "url" else "data"
        raise missing_parameter(f"{here}.source.{missing}")
    return image_from_url(source.url, limits, f"{here}.source.url")


def _call(block: ContentBlock, here: str) -> ToolCall:
    if not block.name:
        raise missing_parameter(f"{here}.name")
    return ToolCall(block.id or "", block.name, _arguments(block.input))


def _arguments(given: Any) -> str:
    """Return the arguments of a call as JSON, or as the model wrote them if that was no JSON."""
    if given is None:
        return ""
    if isinstance(given, dict) and given.keys() == {UNPARSED}:
        given = given[UNPARSED]
        if isinstance(given, dict) and isinstance(given.get("raw"), str):
            given = given["raw"]
    return given if isinstance(given, str) else json_text(given)


def _result(block: ContentBlock, here: str, limits: ImageLimits) -> Message:
    content = block.content
    failed = block.is_error is True
    if isinstance(content, list):
        read = read_blocks(content, "tool", f"{here}.content", limits)
        images = tuple(read.images)
        return Message("tool", read.text, block.tool_use_id, images=images, failed=failed)
    return Message("tool", content or "", block.tool_use_id, failed=failed)
