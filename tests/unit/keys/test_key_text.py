"""The text of a key says which key it is, refuses typos, and does not show its secret."""

from __future__ import annotations

import hashlib
import string

import pytest

from gateway.keys.key_text import new_key_text, parse_key_text

SIGNS = string.ascii_letters + string.digits + "-_ é"


def test_what_is_issued_can_be_read() -> None:
    issued = new_key_text("api")
    parsed = parse_key_text(issued.text)
    assert parsed is not None
    assert (parsed.kind, parsed.id, parsed.sha256) == ("api", issued.id, issued.sha256)
    assert issued.text.startswith(f"fg-{issued.id}-")
    assert len(issued.text) == len("fg-") + 12 + 1 + 43 + 6
    assert issued.text.endswith(issued.last4)
    assert issued.sha256 == hashlib.sha256(issued.text.encode()).digest()


def test_a_key_for_the_admin_api_is_another_kind() -> None:
    issued = new_key_text("admin")
    parsed = parse_key_text(issued.text)
    assert issued.text.startswith("fga-")
    assert parsed is not None
    assert parsed.kind == "admin"


def test_another_secret_of_a_key_has_the_same_id() -> None:
    first = new_key_text("api")
    second = new_key_text("api", first.id)
    assert second.id == first.id
    assert second.text != first.text


def test_every_change_of_one_character_is_refused() -> None:
    text = new_key_text("api").text
    changed = {
        text[:place] + sign + text[place + 1 :]
        for place in range(len(text))
        for sign in SIGNS
        if sign != text[place]
    }
    shorter = {text[:place] + text[place + 1 :] for place in range(len(text))}
    longer = {
        text[:place] + sign + text[place:] for place in range(len(text) + 1) for sign in "aZ0"
    }
    assert [one for one in changed | shorter | longer if parse_key_text(one)] == []


def test_the_kind_of_a_key_cannot_be_changed() -> None:
    text = new_key_text("api").text
    assert parse_key_text(text.replace("fg-", "fga-", 1)) is None


@pytest.mark.parametrize(
    "text", ["", "fg-", "sk-abc", "fg-demo-key", "fg-" + "a" * 60, "\udcff" * 65, "fg-é"]
)
def test_other_texts_are_no_keys(text: str) -> None:
    assert parse_key_text(text) is None


def test_a_hundred_thousand_keys_are_all_different() -> None:
    issued = [new_key_text("api") for _ in range(100_000)]
    assert len({one.id for one in issued}) == 100_000
    assert len({one.sha256 for one in issued}) == 100_000


def test_the_secret_is_not_in_what_a_log_would_show() -> None:
    issued = new_key_text("api")
    assert issued.text not in repr(issued)
    assert repr(issued.sha256) not in repr(parse_key_text(issued.text))
