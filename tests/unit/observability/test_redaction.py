"""A secret is recognised in whatever way it was written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from urllib.parse import quote, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.observability.redaction import base64_forms, printable, written_forms

WRITERS: list[Callable[[str], str]] = [
    str,
    repr,
    ascii,
    json.dumps,
    partial(json.dumps, ensure_ascii=False),
    printable,
]
FIRST = [*WRITERS, lambda text: repr(text.encode()), partial(quote, safe=""), quote, quote_plus]
# Rich in what is escaped somewhere.
texts = st.text("ab09'\"\\/&%+= <\t\n\x1b\u2028é秘😀", max_size=12) | st.text(max_size=12)


@settings(max_examples=300, deadline=None)
@given(texts.filter(len), texts, texts, st.sampled_from(FIRST), st.sampled_from(WRITERS))
def test_a_secret_is_found_however_it_was_written_twice(
    secret: str,
    before: str,
    running_app: str,
    once: Callable[[str], str],
    again: Callable[[str], str],
) -> None:
    written = again(once(f"{before}{secret}{running_app}"))
    assert any(form in written for form in written_forms(secret))


@settings(max_examples=200, deadline=None)
@given(texts.filter(lambda text: len(text.encode()) >= 8), texts, texts)
def test_a_secret_is_found_in_base64_wherever_it_stands(
    secret: str, before: str, running_app: str
) -> None:
    written = base64.b64encode(f"{before}{secret}{running_app}".encode()).decode()
    assert any(form in written for form in base64_forms(secret))


def test_of_a_simple_secret_there_is_one_form() -> None:
    assert written_forms("team-key-1234") == {"team-key-1234"}
    assert base64_forms("short") == set()


@given(st.text())
def test_a_printable_text_is_printable(text: str) -> None:
    assert printable(text).isprintable()
