"""Reads the parts of a chat message: text and images."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.apis.openai.parameters import missing_parameter
from gateway.errors import InvalidRequest
from gateway.generation.request import Image, RemoteImage
from gateway.images.sniff import ImageLimits, image_from_url
from gateway.redaction import word


class ImageUrl(msgspec.Struct):
    """Declares the long form of an `image_url`."""

    url: str


class ContentPart(msgspec.Struct):
    """Declares an item of `content`; unknown members are ignored."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None


def text(parts: Sequence[ContentPart], path: str) -> str:
    """Join the texts of a message's parts with line feeds.

    path: where the parts are in the request. Raises InvalidRequest for parts that are
    neither text nor image.
    """
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
    """Return the images of a message's parts.

    path: where the parts are in the request. allowed: whether such a message may have images.
    Raises InvalidRequest for an image that is not allowed or cannot be used.
    """
    found: list[Image | RemoteImage] = []
    for index, part in enumerate(parts):
        if part.type != "image_url":
            continue
        here = f"{path}[{index}]"
        if not allowed:
            raise InvalidRequest(
                "Images are allowed in messages of users and tools only.",
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
