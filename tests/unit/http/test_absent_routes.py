"""Which paths are routes of other services that the gateway lacks."""

from __future__ import annotations

import pytest

from gateway.http.absent_routes import absent_family
from gateway.http.routing import API_BASES


@pytest.mark.parametrize("base", API_BASES)
@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/embeddings", "openai"),
        ("/embeddings/", "openai"),
        ("/audio/transcriptions", "openai"),
        ("/files/x/content", "openai"),
        ("/responses", "openai"),
        ("/chat/completions/x", "openai"),
        ("/messages", "anthropic"),
        ("/messages/count_tokens", "anthropic"),
        ("/complete", "anthropic"),
        ("/api/me", "ollama"),
        ("/api/experimental/web_search", "ollama"),
        ("/files\n/x", None),
        ("/filesystem", None),
        ("/messages-x", None),
        ("/nope", None),
        ("/nope/files", None),
        ("/api/nope", None),
        ("/", None),
        ("", None),
    ],
)
def test_the_family_of_a_path_is_known_under_every_base(
    base: str, path: str, family: str | None
) -> None:
    assert absent_family(base + path) == family


def test_a_path_without_end_takes_no_longer_than_its_length() -> None:
    assert absent_family("/v1" * 3000) is None
    assert absent_family("/v1/files/" + "/\n" * 3000) == "openai"
