"""Reads the parts of a chat message: texts, images, and calls and results within them.

Clients also send parts of the Responses API and of Anthropic's API. Most of these come from an
earlier conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.message_contents import MessageContents, check_part_count, count_images
from gateway.apis.openai.parameters import missing_parameter
from gateway.apis.openai.tool_calls import arguments_text
from gateway.errors import InvalidRequest
from gateway.generation.request import Image, Message, RemoteImage, ToolCall
from gateway.images.sniff import ImageLimits, image_from_url
from gateway.redaction import word

_TEXTS = frozenset(("text", "input_text", "output_text"))
_IMAGES = frozenset(("image_url", "input_image", "image"))
# Thoughts of earlier answers are no part of the conversation.
_THOUGHTS = frozenset(("thinking", "redacted_thinking", "reasoning"))
_ALLOWED = (
    "text, input_text, output_text, refusal, image_url, input_image, image, thinking, tool_use, "
    "tool_result"
)


class ImageUrl(msgspec.Struct, gc=False):
    """Declares the long form of an `image_url`."""

    url: str


class ImageSource(msgspec.Struct, gc=False):
    """Declares the `source` of an image, as Anthropic's API has it."""

    data: str | None = None
    url: str | None = None


class ContentPart(msgspec.Struct, gc=False):
    """Declares an item of `content`; unknown members are ignored."""

    type: str
    text: str | msgspec.UnsetType | None = msgspec.UNSET
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    source: ImageSource | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: str | list[ContentPart | str] | None = None
    is_error: Any = None


def read_parts(
    parts: Sequence[ContentPart | str], role: str, path: str, limits: ImageLimits
) -> MessageContents:
    """Read the parts of a message.

    role: of the message. path: where the parts are in the request. Raises InvalidRequest for
    parts that cannot be read or that such a message cannot have.
    """
    check_part_count(len(parts), path, "parts")
    read = MessageContents()
    image_count = 0  # those in results of tools included
    for index, part in enumerate(parts):
        if isinstance(part, str):
            read.texts.append(part)
            continue
        here = f"{path}[{index}]"
        kind = part.type
        if kind in _TEXTS:
            if part.text is msgspec.UNSET:
                raise missing_parameter(f"{here}.text")
            read.texts.append(part.text or "")
        elif kind in _IMAGES:
            image_count = count_images(image_count, 1, path)
            read.images.append(_image(part, role, here, limits))
        elif kind == "refusal":
            read.texts.append(part.refusal or "")
        elif kind == "tool_use" and role == "assistant":
            read.calls.append(_call(part, here))
        elif kind == "tool_result" and role in ("user", "tool"):
            result = _result(part, here, limits)
            image_count = count_images(image_count, len(result.images), path)
            read.results.append(result)
        elif kind not in _THOUGHTS:
            raise InvalidRequest(
                f"Parts of type '{word(kind)}' are not supported here; allowed: {_ALLOWED}.",
                code="unsupported_value",
                param=f"{here}.type",
            )
    return read


def _image(part: ContentPart, role: str, here: str, limits: ImageLimits) -> Image | RemoteImage:
    if role == "system":
        raise InvalidRequest(
            "Images are allowed in messages of users, assistants and tools only.",
            code="unsupported_value",
            param=f"{here}.type",
        )
    if part.source is not None:
        source = part.source
        if source.data is not None:
            data_url = f"data:;base64,{source.data}"
            return image_from_url(data_url, limits, f"{here}.source.data")
        if source.url is None:
            raise missing_parameter(f"{here}.source.url")
        return image_from_url(source.url, limits, f"{here}.source.url")
    if part.image_url is None:
        raise missing_parameter(f"{here}.image_url")
    if isinstance(part.image_url, str):
        return image_from_url(part.image_url, limits, f"{here}.image_url")
    return image_from_url(part.image_url.url, limits, f"{here}.image_url.url")


def _call(part: ContentPart, here: str) -> ToolCall:
    if not part.name:
        raise missing_parameter(f"{here}.name")
    return ToolCall(part.id or "", part.name, arguments_text(part.input))


def _result(part: ContentPart, here: str, limits: ImageLimits) -> Message:
    content = part.content
    if isinstance(content, list):
        read = read_parts(content, "result", f"{here}.content", limits)
        text, images = read.text, tuple(read.images)
    else:
        text, images = content or "", ()
    failed = part.is_error is True
    return Message("tool", text, part.tool_use_id, images=images, failed=failed)
