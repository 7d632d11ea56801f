"""The parts of a chat message: text and pictures."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.apis.openai.parameters import missing_parameter
from gateway.errors import InvalidRequest, word
from gateway.generation.request import Image, RemoteImage
from gateway.images.sniff import ImageLimits, image_from_url


class ImageUrl(msgspec.Struct):
    """The long form of an `image_url`."""

    url: str


class ContentPart(msgspec.Struct):
    """An item of `content`; unknown members are left alone."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None


def text(parts: Sequence[ContentPart], path: str) -> str:
    """The text of a message's parts, a line feed between two. Raises InvalidRequest."""
    texts = []
    for index, part in enumerate(parts):
        if part.type == "image_url":
            continue
        here = f"{path}[{index}]"
        if part.type != "text":
            raise InvalidRequest(
                f"Parts of type '{word(part.type)}' are not supported; send text or images.",
                code="unsupported_value",
                param=f"{here}.type",
            )
        if part.text is None:
            raise missing_parameter(f"{here}.text")
        texts.append(part.text)
    return "\n".join(texts)


def images(
    parts: Sequence[ContentPart], path: str, limits: ImageLimits, *, allowed: bool
) -> tuple[Image | RemoteImage, ...]:
    """The pictures of a message's parts. Raises InvalidRequest, where not `allowed` for any."""
    found: list[Image | RemoteImage] = []
    for index, part in enumerate(parts):
        if part.type != "image_url":
            continue
        here = f"{path}[{index}]"
        if not allowed:
            raise InvalidRequest(
                "Images can stand in messages of users and tools only.",
                code="unsupported_value",
                param=f"{here}.type",
            )
        if part.image_url is None:
            raise missing_parameter(f"{here}.image_url")
        if isinstance(part.image_url, str):
            found.append(image_from_url(part.image_url, limits, f"{here}.image_url"))
        else:
            found.append(image_from_url(part.image_url.url, limits, f"{here}.image_url.url"))
    return tuple(found)
