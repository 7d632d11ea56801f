"""Fill-in-the-middle prompts in every notation that editors write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apis.fim_templates import TEMPLATES, FimTemplate, parse_fim_prompt

P, S = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"

WRITTEN = {
    "qwen": (f"<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>", None),
    "qwen, suffix first": (f"<|fim_suffix|>{S}<|fim_prefix|>{P}<|fim_middle|>", None),
    "qwen, several files": (
        "<|repo_name|>demo\n<|file_sep|>other.py\nx = 1\n<|file_sep|>src/add.py\n"
        f"<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>",
        "src/add.py",
    ),
    "starcoder": (f"<fim_prefix>{P}<fim_suffix>{S}<fim_middle>", None),
    "starcoder, a named file": (
        f"<filename>add.py\n<fim_prefix>{P}<fim_suffix>{S}<fim_middle>",
        "add.py",
    ),
    "starcoder, prefix last": (f"<fim_prefix><fim_suffix>{S}<fim_middle>{P}", None),
    "deepseek": (f"<｜fim▁begin｜>{P}<｜fim▁hole｜>{S}<｜fim▁end｜>", None),
    "codestral": (f"[SUFFIX]{S}[PREFIX]{P}", None),
    "codestral, several files": (
        f"[SUFFIX]{S}[PREFIX]+++++ other.py\nx = 1\n+++++ src/add.py\n{P}",
        "src/add.py",
    ),
    "code llama": (f"<PRE> {P} <SUF>{S} <MID>", None),
    "seed-coder": (f"<[fim-suffix]>{S}<[fim-prefix]>{P}<[fim-middle]>", None),
    "codegeex": (
        "###PATH:src/add.py\n###LANGUAGE:Python\n###MODE:BLOCK\n"
        f"<|code_suffix|>{S}<|code_prefix|>{P}<|code_middle|>",
        "src/add.py",
    ),
}


@pytest.mark.parametrize(("prompt", "filename"), WRITTEN.values(), ids=WRITTEN)
def test_a_notation_is_known_by_its_markers(prompt: str, filename: str | None) -> None:
    found = parse_fim_prompt(prompt)
    assert found is not None
    fill, sentinels = found
    assert (fill.prefix, fill.suffix, fill.filename) == (P, S, filename)
    assert sentinels
    assert all(mark in prompt for mark in sentinels)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "plain text",
        "about <fim_prefix> alone",
        "<fim_prefix> and <fim_suffix> without a middle",
        "<fim_middle><fim_prefix>x<fim_suffix>",
        "[PREFIX]x[SUFFIX]y",
        "[SUFFIX] only",
        "<fim_prefix>a<|fim_suffix|>b<fim_middle>",
    ],
)
def test_what_is_no_notation_is_a_plain_prompt(prompt: str) -> None:
    assert parse_fim_prompt(prompt) is None


def test_an_answer_that_was_begun_belongs_to_the_prefix() -> None:
    found = parse_fim_prompt(f"<fim_prefix>{P}<fim_suffix>{S}<fim_middle>a +")
    assert found is not None
    assert found[0].prefix == P + "a +"


@given(
    template=st.sampled_from(TEMPLATES),
    prefix=st.text(st.characters(blacklist_characters="<[+#", blacklist_categories=["Cs"])),
    suffix=st.text(st.characters(blacklist_characters="<[+#", blacklist_categories=["Cs"])),
    suffix_first=st.booleans(),
)
def test_both_sides_come_back_exactly(
    template: FimTemplate, prefix: str, suffix: str, suffix_first: bool
) -> None:
    pre, suf, mid = template.prefix, template.suffix, template.middle
    if suffix_first or not mid:
        prompt = suf + suffix + pre + prefix + mid
    else:
        prompt = pre + prefix + suf + suffix + mid
    found = parse_fim_prompt(prompt)
    assert found is not None
    assert (found[0].prefix, found[0].suffix) == (prefix, suffix)


@given(st.text(max_size=200), st.lists(st.sampled_from([t.prefix for t in TEMPLATES]), max_size=4))
def test_random_text_is_never_an_error(text: str, marks: list[str]) -> None:
    parse_fim_prompt(
        text.join([*marks, *(t.suffix for t in TEMPLATES[:2]), *(t.middle for t in TEMPLATES)])
    )
