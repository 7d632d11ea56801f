"""Kind and size of an image, from its URL and its bytes."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.generation.request import Image, RemoteImage
from gateway.images.sniff import (
    ImageLimits,
    check_image,
    image_from_bytes,
    image_from_url,
    read_header,
)
from tests.images import data_url, gif, jpeg, png, webp

LIMITS = ImageLimits(max_bytes=1000, max_pixels=10_000)

IMAGES = {
    "png": (png(), "image/png"),
    "jpeg": (jpeg(), "image/jpeg"),
    "progressive jpeg": (jpeg(marker=0xC2), "image/jpeg"),
    "gif": (gif(), "image/gif"),
    "webp, extended": (webp(b"VP8X"), "image/webp"),
    "webp, lossless": (webp(b"VP8L"), "image/webp"),
    "webp, lossy": (webp(b"VP8 "), "image/webp"),
}


@pytest.mark.parametrize(("raw", "mime"), IMAGES.values(), ids=IMAGES)
def test_kind_and_size_are_read_from_the_bytes(raw: bytes, mime: str) -> None:
    assert read_header(raw) == (mime, 2, 3)
    assert image_from_bytes(raw, LIMITS, "p") == Image(mime, base64.b64encode(raw).decode())


@pytest.mark.parametrize(("raw", "mime"), IMAGES.values(), ids=IMAGES)
def test_an_image_cut_anywhere_is_refused_or_still_recognised(raw: bytes, mime: str) -> None:
    for end in range(len(raw)):
        assert read_header(raw[:end]) in (None, (mime, 2, 3))


@given(st.binary(max_size=80), st.sampled_from([b"", *(raw[:24] for raw, _ in IMAGES.values())]))
def test_random_bytes_are_never_a_crash(rubbish: bytes, begin: bytes) -> None:
    read_header(begin + rubbish)


@pytest.mark.parametrize(
    "url",
    [
        data_url(png()),
        data_url(png()).rstrip("="),
        data_url(png(), "image/jpeg"),  # what it says does not matter
        "DATA:IMAGE/PNG;BASE64," + data_url(png()).partition(",")[2],
        "data:image/png;charset=utf-8;base64," + data_url(png()).partition(",")[2],
        "data:;base64," + data_url(png()).partition(",")[2],
        "data:image/png; base64 ;x=y," + data_url(png()).partition(",")[2],
        "data:image/png;base64," + base64.encodebytes(png()).decode(),
        "data:image/png;base64,\r\n" + base64.encodebytes(png()).decode().replace("\n", "\r\n"),
        "data:image/png;base64, " + " ".join(data_url(png()).partition(",")[2]),
        "data:image/png;base64," + quote(base64.encodebytes(png()).decode(), safe=""),
        "data:image/png;base64," + data_url(png()).partition(",")[2].replace("/", "%2f"),
        "data:image/png;base64," + data_url(png()).partition(",")[2] + "==",
        "data:image/png," + quote(png(), safe=""),
        "data:image/png;charset=utf-8," + quote(png()),
        "data:," + quote(png(), safe=""),
        " data:image/png;base64," + data_url(png()).partition(",")[2] + "\n",
    ],
)
def test_a_data_url_is_read(url: str) -> None:
    assert image_from_url(url, LIMITS, "p") == Image("image/png", base64.b64encode(png()).decode())


def test_base64_of_urls_is_base64() -> None:
    raw = png(padding=3).replace(b"xxx", b"\xff\xff\xfe")
    data = base64.urlsafe_b64encode(raw).decode()
    assert {"-", "_"} & set(data)
    image = image_from_url(f"data:image/png;base64,{data.rstrip('=')}", LIMITS, "p")
    assert image == Image("image/png", base64.b64encode(raw).decode())


@given(st.binary(max_size=60))
def test_any_bytes_of_an_image_survive_percent_encoding(rest: bytes) -> None:
    raw = gif() + rest
    for url in (f"data:image/gif,{quote(raw, safe='')}", f"data:image/gif,{quote(raw)}"):
        assert image_from_url(url, LIMITS, "p") == Image(
            "image/gif", base64.b64encode(raw).decode()
        )


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a.png"])
def test_an_address_is_something_to_fetch(url: str) -> None:
    assert image_from_url(url, LIMITS, "p") == RemoteImage(url, "p")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_image_url"),
        ("image.png", "invalid_image_url"),
        ("file:///etc/passwd", "invalid_image_url"),
        ("ftp://example.org/a.png", "invalid_image_url"),
        ("data:image/png,plain", "invalid_image_url"),
        ("data:image/png;base64", "invalid_image_url"),
        ("data:image/png;base64,", "invalid_image_url"),
        ("data:image/png;base64,****", "invalid_image_url"),
        ("data:image/png;base64,好", "invalid_image_url"),
        ("data:image/png;base64,AA AA", "invalid_image_url"),
        ("data:image/png;base64,A", "invalid_image_url"),
        (data_url(b"<svg/>", "image/svg+xml"), "invalid_image_url"),
        (data_url(b"%PDF-1.7"), "invalid_image_url"),
        (data_url(png(0, 3)), "invalid_image_url"),
        (data_url(png(101, 100)), "image_too_large"),
        (data_url(png(2**31, 2**31)), "image_too_large"),
        (data_url(png(padding=1000)), "image_too_large"),
        ("data:image/png;base64," + "A" * 10_000_000, "image_too_large"),
        ("data:image/png;base64," + "A " * 2000, "image_too_large"),
        ("data:image/png;base64," + " " * 10_000_000, "image_too_large"),
        ("data:image/png," + "A" * 2000, "image_too_large"),
        ("data:image/png," + "%41" * 10_000_000, "image_too_large"),
        ("data:image/png,好", "invalid_image_url"),
        ("data:image/png," + "=" * 1000, "invalid_image_url"),
        ("data:" + ";" * 1000 + "base64,AAAA", "invalid_image_url"),
        ("data:image/svg+xml,%3Csvg/%3E", "invalid_image_url"),
        ("data:image/png;base64,%zz%", "invalid_image_url"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_no_image_or_too_large_is_refused_with_its_path(url: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        image_from_url(url, LIMITS, "messages[0].content[1].image_url.url")
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert caught.value.param == "messages[0].content[1].image_url.url"
    assert len(caught.value.message) < 300


def test_the_limits_themselves_are_allowed() -> None:
    raw = png(100, 100)
    check_image(raw, ImageLimits(len(raw), 10_000), "p")
