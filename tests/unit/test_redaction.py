"""What may be shown of clients' values, secrets, exceptions and the configuration."""

from __future__ import annotations

import base64
import errno
import json
import os
import socket
from collections.abc import Callable
from functools import partial
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import redaction
from gateway.redaction import (
    MASK,
    Redactor,
    base64_forms,
    is_request_id,
    kind_of,
    library_message,
    logged_method,
    masked_key,
    masked_name,
    os_error_and_file,
    os_error_text,
    printable,
    shown_factory,
    shown_method,
    shown_path,
    word,
    written_forms,
)

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


KEYS = [
    *("sk-abcdefghijklmnopqrst", "eyJhbGciOiJI.eyJzdWIi.c2ln", "FT_abcdefghijklmnopqr"),
    *("fg-abcdefghijk2-abcdefghijklmnopqrst", "fga-abcdefghijk2-abcdefghijklmnopqrst"),
]
SHORT_KEYS = ["sk-a", "eyJ1", "FT_x", "fg-a", "fga-a"]


@pytest.mark.parametrize("value", ["gpt-4o", "a/b:c.d", "x" * 64, "risk-free", "draft_notes"])
def test_a_word_is_shown(value: str) -> None:
    assert word(value) == value


@pytest.mark.parametrize(
    "value", ["", "two words", "x" * 65, "a\n", "合并", "a'b", *KEYS, *SHORT_KEYS]
)
def test_what_is_no_word_is_not_shown(value: str) -> None:
    assert word(value) == "..."


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("shown", "around"),
    [
        (word, "openai/{}"),
        (masked_name, "{}"),
        (shown_path, "/v1/{}/models"),
        (shown_path, "/v1/a:{}"),
        (Redactor(), "the key {} was sent"),
        (Redactor(), "Authorization: Bearer {}"),
        (lambda text: text if is_request_id(text) else "", "a.{}"),
        (lambda text: text if is_request_id(text) else "", "{}"),
    ],
)
def test_no_function_shows_what_looks_like_a_key(
    shown: Callable[[str], str], around: str, key: str
) -> None:
    assert key[:12] not in shown(around.format(key))


@pytest.mark.parametrize("key", SHORT_KEYS)
def test_a_name_or_an_id_does_not_begin_like_a_key(key: str) -> None:
    assert masked_name(key) == f"{key[:3]}****"
    assert not is_request_id(key)


@pytest.mark.parametrize("given", ["a", "req-1", "A.b_c-9", "x" * 64])
def test_an_id_of_a_request_is_short_and_plain(given: str) -> None:
    assert is_request_id(given)
    assert not is_request_id(f"{given} ")
    assert not is_request_id(f"{given}\n")
    assert not is_request_id(given + "x" * 64)


@pytest.mark.parametrize("check", [word, masked_name])
def test_a_long_value_is_refused_before_a_key_is_searched_in_it(
    check: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "_WORD", None)
    monkeypatch.setattr(redaction, "_NAME", None)
    assert "eyJeyJ" not in check("eyJ" * 3000)


def test_a_path_is_shown_part_by_part() -> None:
    assert shown_path("/v1/chat/completions") == "/v1/chat/completions"
    assert shown_path("/v1/what is this/x") == "/v1/.../x"
    assert shown_path(f"/{'x' * 25}/") == "/.../"
    assert shown_path("/".join("abcdefghij")) == "a/b/c/d/e/f/g/h/i/j"


def test_a_method_is_shown_if_http_defines_it() -> None:
    assert (shown_method("PATCH"), logged_method("PATCH")) == ("PATCH", "PATCH")
    assert (shown_method("prompt"), logged_method("prompt")) == ("...", "(other)")
    assert (shown_method("get"), logged_method("get")) == ("...", "(other)")


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("0123456789abcdef", "****cdef"),
        ("0123456789abcde", "****"),
        ("", "****"),
        ("0123456789abcdé!", "****"),
        ("0123456789abcde\n", "****"),
    ],
)
def test_of_a_long_key_the_last_four_characters_are_shown(key: str, shown: str) -> None:
    assert masked_key(key) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("max_body_bytes", "max_body_bytes"),
        ("option12", "option12"),
        ("option123", "opt****"),
        ("password:hunter2", "password****"),
        ("password=hunter2", "password****"),
        ("x" * 41, "xxx****"),
        (12, "12"),
        (True, "True"),
        ("", ""),
        ("秘密", "秘密****"),
    ],
)
def test_a_name_of_an_option_is_shown_up_to_what_may_be_its_value(name: object, shown: str) -> None:
    assert masked_name(name) == shown


def test_a_factory_is_shown_with_its_module() -> None:
    assert shown_factory("acme.audit:Audit") == "acme.audit:Audit"
    assert shown_factory("request_log") == "request_log"
    assert shown_factory("password: hunter2") == "password****"
    assert shown_factory(f"{KEYS[0]}:a") == "sk-****"
    assert shown_factory("a" * 262 + ":b").endswith("****")


def test_of_a_value_in_the_wrong_place_the_kind_is_shown() -> None:
    values = [None, True, 1.5, "hunter2", ["hunter2"], {"hunter2": 1}, b"hunter2"]
    assert [kind_of(value) for value in values] == [
        "nothing",
        "true or false",
        "a number (write it in quotes if it is text)",
        "text",
        "a list",
        "a mapping",
        "bytes",
    ]


def test_a_system_error_is_shown_by_the_name_of_its_number() -> None:
    assert os_error_text(OSError(errno.ENOENT, "secret", "secret")) == os.strerror(errno.ENOENT)
    assert os_error_text(OSError("secret")) == "OSError"
    assert os_error_text(socket.gaierror(socket.EAI_NONAME, "secret")) == "gaierror"
    assert os_error_text(ValueError("secret")) == "ValueError"


def test_a_system_error_of_a_start_names_its_file() -> None:
    name = os.strerror(errno.ENOENT)
    assert os_error_and_file(OSError(errno.ENOENT, "secret", "/a/log")) == f"{name}: /a/log"
    assert os_error_and_file(OSError(errno.ENOENT, "secret")) == name
    assert os_error_and_file(OSError("secret")) == "OSError"


def test_of_asyncio_s_messages_the_first_line_is_shown_without_arguments() -> None:
    assert library_message("asyncio", "failed in call(a prompt)\na prompt") == "failed in call(...)"
    assert library_message("other", "as (it) is\nto the end") == "as (it) is\nto the end"


def test_secrets_of_fewer_than_four_characters_are_not_masked() -> None:
    assert Redactor(["abc", "abcd"])("abc abcd") == f"abc {MASK}"


def test_a_longer_secret_is_masked_before_one_that_it_begins_with() -> None:
    assert Redactor(["hunter", "hunter2"])("hunter2 hunter") == f"{MASK} {MASK}"


def test_another_redactor_can_learn_what_one_knows() -> None:
    former = Redactor(["first-secret"])
    former.add("second-secret")
    redactor = Redactor(["third-secret"])
    redactor.learn_from(former)
    assert redactor("first-secret second-secret third-secret") == f"{MASK} {MASK} {MASK}"


def test_beginnings_of_tokens_without_end_take_little_time() -> None:
    """Each of them would read the rest of the text, which takes minutes."""
    text = "eyJ" * 85_000 + " " + "eyJ" * 170 + " and eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOi.c2ln"
    masked = Redactor()(text)
    assert masked == f"{MASK} {'eyJ' * 170} and {MASK}"
