"""Reads the type and size of images from their first bytes, without I/O.

Pixels are never decoded: the size is read from the header. So a decompression bomb costs
no memory.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import NamedTuple

from gateway.errors import InvalidRequest
from gateway.generation.request import Image, RemoteImage

_KINDS = "PNG, JPEG, GIF or WebP"
_LONGEST_KIND = 256  # characters before the comma of a data URL
_LONGEST_ESCAPE = 3  # characters of a percent-encoded byte
_STANDARD = bytes.maketrans(b"-_", b"+/")  # from the alphabet of URLs
_WHITE_SPACE = b" \t\r\n\f\v"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Sets how large an image may be: bytes of the file, and width times height in pixels."""

    max_bytes: int = 5 * 1024 * 1024
    max_pixels: int = 50_000_000


class ImageHeader(NamedTuple):
    """Holds what the header of an image says; width and height in pixels."""

    mime: str
    width: int
    height: int


def image_from_url(url: str, limits: ImageLimits, param: str) -> Image | RemoteImage:
    """Read the image in a data URL (RFC 2397); return http addresses as images to fetch.

    param: where the URL is in the request. Raises InvalidRequest for other URLs, and for an
    image that is broken or too large.
    """
    scheme, _, rest = url.partition(":")
    scheme = scheme.strip().lower()
    if scheme in ("http", "https"):
        return RemoteImage(url, param)
    if scheme != "data":
        raise _invalid("An image's URL must begin with 'data:image/'.", param)
    kind, comma, data = rest.partition(",")
    if not comma or len(kind) > _LONGEST_KIND:
        raise _invalid("An image's data URL must be 'data:image/png;base64,' and base64.", param)
    if "base64" not in [part.strip() for part in kind.lower().split(";")[1:]]:
        return image_from_bytes(_percent_decoded(data, limits, param), limits, param)
    most = (limits.max_bytes + 2) // 3 * 4 + 4
    if len(data) <= most:
        padded = data + "=" * (-len(data) % 4)  # some clients leave out the padding
        if raw := _decoded(padded):
            return Image(check_image(raw, limits, param).mime, padded)
    elif len(data) > most * _LONGEST_ESCAPE:
        raise _too_large(limits, param)
    data = _plain_base64(data)
    if len(data) > most:
        raise _too_large(limits, param)
    raw = _decoded(data)
    if raw is None:
        raise _invalid("An image's base64 is broken.", param)
    return Image(check_image(raw, limits, param).mime, data)


def _decoded(data: str) -> bytes | None:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        return None


def _plain_base64(data: str) -> str:
    """Return base64 as RFC 4648 has it, from the forms that mail and URLs have.

    Lines may end (RFC 2045), characters may be percent-encoded (RFC 3986), and the alphabet may
    be that of URLs. Each step is one pass in C, since an image has megabytes.
    """
    plain = data.encode("ascii", "replace").translate(_STANDARD, _WHITE_SPACE)
    if b"%" in plain:
        plain = _unquoted(plain.rstrip(b"=")).translate(_STANDARD, _WHITE_SPACE)
    plain = plain.rstrip(b"=")
    return (plain + b"=" * (-len(plain) % 4)).decode("ascii", "replace")


def _percent_decoded(data: str, limits: ImageLimits, param: str) -> bytes:
    """Return the bytes of a data URL without base64."""
    if len(data) > limits.max_bytes * _LONGEST_ESCAPE:
        raise _too_large(limits, param)
    if data.count("=") > len(data) // 16 + 64:  # of random bytes, one in 256 is a `=`
        raise _invalid("An image's data URL is not percent-encoded.", param)
    return _unquoted(data.encode("ascii", "replace"))


def _unquoted(data: bytes) -> bytes:
    """Decode percent-encoding.

    Quoted-printable (RFC 2045) is the same with another sign, and has a decoder in C.
    """
    return binascii.a2b_qp(data.replace(b"=", b"%3D").replace(b"%", b"="))


def image_from_bytes(raw: bytes, limits: ImageLimits, param: str) -> Image:
    """Read the image in a file. Raises InvalidRequest when it is not an image or too large."""
    return Image(check_image(raw, limits, param).mime, base64.b64encode(raw).decode("ascii"))


def check_image(raw: bytes, limits: ImageLimits, param: str) -> ImageHeader:
    """Check the size and the header of a file; a declared type is not trusted.

    Raises InvalidRequest when it is not an image, or over the limits.
    """
    if len(raw) > limits.max_bytes:
        raise _too_large(limits, param)
    found = read_header(raw)
    if found is None or not (found.width and found.height):
        raise _invalid(f"The image is not {_KINDS}, or it is broken.", param)
    if found.width * found.height > limits.max_pixels:
        raise InvalidRequest(
            f"The image has {found.width} x {found.height} pixels; the limit is "
            f"{limits.max_pixels} in all. Scale it down.",
            code="image_too_large",
            param=param,
        )
    return found


def read_header(raw: bytes) -> ImageHeader | None:
    """Read the type and size of an image; None when it is not an image."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and raw[12:16] == b"IHDR" and len(raw) >= 24:
        return ImageHeader("image/png", *struct.unpack(">II", raw[16:24]))
    if raw[:6] in (b"GIF87a", b"GIF89a") and len(raw) >= 10:
        return ImageHeader("image/gif", *struct.unpack("<HH", raw[6:10]))
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return _webp(raw)
    if raw.startswith(b"\xff\xd8\xff"):
        return _jpeg(raw)
    return None


def _webp(raw: bytes) -> ImageHeader | None:
    """Read one of the three forms of WebP (RFC 9649, 2.5 to 2.7)."""
    kind = raw[12:16]
    if len(raw) < 30:
        return None
    if kind == b"VP8X":
        width = 1 + int.from_bytes(raw[24:27], "little")
        return ImageHeader("image/webp", width, 1 + int.from_bytes(raw[27:30], "little"))
    if kind == b"VP8L" and raw[20] == 0x2F:
        bits = int.from_bytes(raw[21:25], "little")
        return ImageHeader("image/webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and raw[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", raw[26:30])
        return ImageHeader("image/webp", width & 0x3FFF, height & 0x3FFF)
    return None


def _jpeg(raw: bytes) -> ImageHeader | None:
    """Skip from marker to marker (ITU T.81, B.1) to the frame header, which has the size."""
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return ImageHeader("image/jpeg", width, height)
        if marker in (0xD8, 0xD9, 0xDA) or marker == 0:
            return None
        at += 2 if 0xD0 <= marker <= 0xD7 or marker == 1 else 2 + _length(raw, at)
    return None


def _length(raw: bytes, at: int) -> int:
    return max(2, int.from_bytes(raw[at + 2 : at + 4], "big"))


def _invalid(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_image_url", param=param)


def _too_large(limits: ImageLimits, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"The image is over {limits.max_bytes} bytes. Scale it down.",
        code="image_too_large",
        param=param,
    )
