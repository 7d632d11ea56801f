"""Fill-in-the-middle prompts in every notation that editors write."""

from __future__ import annotations

import sys
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apis.fim_templates import TEMPLATES, FimTemplate, parse_fim_prompt, plain_fill

P, S = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"
TWINNY = (
    "/* Language: TypeScript (typescript) */\n/* File uri: file:///w/my%20app.ts (typescript) */\n"
)
TWINNY_4 = "// Language: TypeScript (typescript) \n// Path: src/app.ts \n"

WRITTEN = {
    "qwen": (f"<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>", None),
    "qwen, suffix first": (f"<|fim_suffix|>{S}<|fim_prefix|>{P}<|fim_middle|>", None),
    "qwen, a line end after it": (f"<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>\n", None),
    "qwen, a byte order mark": (f"\ufeff<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>", None),
    "qwen, several files": (
        "<|repo_name|>demo\n<|file_sep|>other.py\nx = 1\n<|file_sep|>src/add.py\n"
        f"<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>",
        "src/add.py",
    ),
    "qwen, another file has markers": (
        '<|file_sep|>fim.py\nT = f"<|fim_prefix|>{p}<|fim_suffix|>{s}<|fim_middle|>"\n'
        f"<|file_sep|>src/add.py\n<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>",
        "src/add.py",
    ),
    "starcoder of Cody": (
        f"<filename>src/add.py<fim_prefix>{P}<fim_suffix>{S}<fim_middle>",
        "src/add.py",
    ),
    "qwen, other files are not named": (
        f"<|file_sep|>x = 1\n<|file_sep|><|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>",
        None,
    ),
    "qwen, a comment in front": (
        f"// Language: python | File: add.py\n<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>",
        None,
    ),
    "qwen of twinny, several files": (
        "<|file_sep|>other.ts\nconst x = 1\n<|file_sep|>src/app.ts\n"
        f"<|fim_prefix|>{TWINNY_4}{P}<|fim_suffix|>{S}<|fim_middle|>",
        "src/app.ts",
    ),
    "qwen of ProxyAI": (f"<|fim_prefix|> {P} <|fim_suffix|>{S} <|fim_middle|>", None),
    "qwen of ProxyAI, several files": (
        "<|repo_name|>demo\n<|file_sep|>Other.kt \nval x = 1\n<|file_sep|>src/Add.kt \n"
        f"<|fim_prefix|> {P} <|fim_suffix|>{S} <|fim_middle|>",
        "src/Add.kt",
    ),
    "qwen in a chat template": (
        "<|im_start|>system\nYou complete code.<|im_end|>\n<|im_start|>user\n"
        f"<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|><|im_end|>\n<|im_start|>assistant\n",
        None,
    ),
    "qwen, each marker in a line": (
        f"<|fim_prefix|>\n{P}\n<|fim_suffix|>\n{S}\n<|fim_middle|>\n",
        None,
    ),
    "granite in a chat template": (
        "<|start_of_role|>user<|end_of_role|>"
        f"<fim_prefix>{P}<fim_suffix>{S}<fim_middle><|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>",
        None,
    ),
    "codegemma, several files": (
        "<|file_separator|>other.py\nx = 1\n<|file_separator|>add.py\n"
        f"<|fim_prefix|>{P}<|fim_suffix|>{S}<|fim_middle|>",
        "add.py",
    ),
    "starcoder": (f"<fim_prefix>{P}<fim_suffix>{S}<fim_middle>", None),
    "starcoder, a named file": (
        f"<filename>add.py\n<fim_prefix>{P}<fim_suffix>{S}<fim_middle>",
        "add.py",
    ),
    "starcoder, stars": (
        f"<reponame>demo<filename>add.py<gh_stars>10-100\n<fim_prefix>{P}<fim_suffix>{S}<fim_middle>",
        "add.py",
    ),
    "starcoder, prefix last": (f"<fim_prefix><fim_suffix>{S}<fim_middle>{P}", None),
    "starcoder 2, the name behind the marker": (
        "<repo_name>demo<file_sep>other.py\nx = 1<file_sep>"
        f"<fim_prefix>src/add.py\n{P}<fim_suffix>{S}<fim_middle>",
        "src/add.py",
    ),
    "starcoder 2 of Continue": (
        f"<file_sep>x = 1<file_sep><fim_prefix>{P}<fim_suffix>{S}<fim_middle>",
        None,
    ),
    "stable code of twinny, file context": (
        f"<fim_prefix>// helper.ts\nhelp()\n\n\n{TWINNY}{P}<fim_suffix>{S}<fim_middle>",
        "/w/my app.ts",
    ),
    "codeqwen of ProxyAI": (
        "<reponame>demo\n<file_sep>Other.kt \nval x = 1\n<file_sep>src/Add.kt \n"
        f"<fim_prefix>{P}<fim_suffix>{S}<fim_middle>",
        "src/Add.kt",
    ),
    "mellum": (
        "<filename>Utils.kt\nval x = 1\n<filename>Add.kt\n"
        f"<fim_suffix>{S}<fim_prefix>{P}<fim_middle>",
        "Add.kt",
    ),
    "santacoder": (f"<fim-prefix>{P}<fim-suffix>{S}<fim-middle>", None),
    "santacoder with bars": (f"<|fim-prefix|>{P}<|fim-suffix|>{S}<|fim-middle|>", None),
    "capital letters": (f"<FIM_PREFIX>{P}<FIM_SUFFIX>{S}<FIM_MIDDLE>", None),
    "deepseek": (f"<｜fim▁begin｜>{P}<｜fim▁hole｜>{S}<｜fim▁end｜>", None),
    "deepseek, begin of sentence": (
        f"<｜begin▁of▁sentence｜><｜fim▁begin｜>{P}<｜fim▁hole｜>{S}<｜fim▁end｜>",
        None,
    ),
    "deepseek, plain bars": (f"<|fim▁begin|>{P}<|fim▁hole|>{S}<|fim▁end|>", None),
    "deepseek, underscores": (f"<|fim_begin|>{P}<|fim_hole|>{S}<|fim_end|>", None),
    "deepseek of ProxyAI, several files": (
        f"#other.py\nx = 1\n#src/add.py\n<｜fim▁begin｜>{P}<｜fim▁hole｜>{S}<｜fim▁end｜>",
        "src/add.py",
    ),
    "deepseek of twinny": (
        f"<｜fim▁begin｜>\n{TWINNY_4}{P}<｜fim▁hole｜>{S}<｜fim▁end｜>",
        "src/app.ts",
    ),
    "codestral": (f"[SUFFIX]{S}[PREFIX]{P}", None),
    "codestral, a prefix that ends with a chat template's marker": (
        f"[SUFFIX]{S}[PREFIX]{P}[/INST]",
        None,
    ),
    "codestral, a marker of the gap": (f"[SUFFIX]{S}[PREFIX]{P}[MIDDLE]", None),
    "codestral, prefix first": (f"[PREFIX]{P}[SUFFIX]{S}[MIDDLE]", None),
    "codestral, several files": (
        f"[SUFFIX]{S}[PREFIX]+++++ other.py\nx = 1\n+++++ src/add.py\n{P}",
        "src/add.py",
    ),
    "codestral of Continue, a difference in front": (
        f"[SUFFIX]{S}[PREFIX]diff --git a/x b/x\n+y\n\n+++++ o.py\nx = 1\n\n+++++ src/add.py\n{P}",
        "src/add.py",
    ),
    "code llama": (f"<PRE> {P} <SUF>{S} <MID>", None),
    "code llama without blanks": (f"<PRE>{P}<SUF>{S}<MID>", None),
    "code llama, begin of sequence": (f"<s><PRE> {P} <SUF>{S} <MID>", None),
    "code llama, the tokenizer's blanks": (f"▁<PRE>▁{P}▁<SUF>{S}▁<MID>", None),
    "code llama, suffix first": (f" <PRE> <SUF>{S} <MID> {P}", None),
    "code llama of ProxyAI, several files": (
        f"# other.py \nx = 1\n# src/add.py \n<PRE> {P} <SUF>{S} <MID>",
        "src/add.py",
    ),
    "code llama of twinny": (f"<PRE> \n{P} <SUF> {S} <MID>", None),
    "code llama of twinny, header": (f"<PRE> \n\n{TWINNY}{P} <SUF> {S} <MID>", "/w/my app.ts"),
    "code llama of twinny, file context": (
        f"<PRE>/*// helper.ts\nhelp()\n*/ \n\n{TWINNY}{P} <SUF> {S} <MID>",
        "/w/my app.ts",
    ),
    "code llama of twinny 4": (f"<PRE> {TWINNY_4}{P} <SUF> {S} <MID>", "src/app.ts"),
    "code llama of twinny 4, file context": (
        f"<PRE> // File: helper.ts \nhelp()\n\n{TWINNY_4}{P} <SUF> {S} <MID>",
        "src/app.ts",
    ),
    "seed-coder": (f"<[fim-suffix]>{S}<[fim-prefix]>{P}<[fim-middle]>", None),
    "seed-coder, several files": (
        f"<[fim-suffix]>{S}<[fim-prefix]><filename>o.py\nx = 1\n<filename>add.py\n{P}"
        "<[fim-middle]>",
        "add.py",
    ),
    "codegeex": (
        "###PATH:src/add.py\n###LANGUAGE:Python\n###MODE:BLOCK\n"
        f"<|code_suffix|>{S}<|code_prefix|>{P}<|code_middle|>",
        "src/add.py",
    ),
    "codegeex of Continue": (
        "<|user|>\n###REFERENCE:\n###PATH:other.py\nx = 1\n\n###PATH:src/add.py\n"
        "###LANGUAGE:Python\n###MODE:BLOCK\n"
        f"<|code_suffix|>{S}<|code_prefix|>{P}<|code_middle|><|assistant|>\n",
        "src/add.py",
    ),
    "glm of Zed": (f"<|code_prefix|>{P}<|code_suffix|>{S}<|code_middle|>", None),
}


@pytest.mark.parametrize(("prompt", "filename"), WRITTEN.values(), ids=WRITTEN)
def test_a_notation_is_known_by_its_markers(prompt: str, filename: str | None) -> None:
    found = parse_fim_prompt(prompt)
    assert found is not None
    fill, markers = found
    prefix = P + "[/INST]" * prompt.endswith("[/INST]")
    assert (fill.prefix, fill.suffix, fill.filename) == (prefix, S, filename)
    assert len(markers) >= 2
    assert all(marker in prompt for marker in markers)


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
        'text = f"<fim_prefix>{p}<fim_suffix>{s}<fim_middle>"\n',
        'text = f"<fim_prefix>{p}<fim_suffix>{s}<fim_middle>',
        'STOP = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]\nfor mark in ',
        "A prompt: <PRE> a <SUF>b <MID> and then",
        "[tool]\n[SUFFIX]\nx\n[PREFIX]\ny",
        "<PRE>an old page</PRE>\n<p>",
    ],
)
def test_what_is_no_notation_is_a_plain_prompt(prompt: str) -> None:
    assert parse_fim_prompt(prompt) is None
    assert plain_fill(prompt, "s").prefix == prompt


@pytest.mark.parametrize(
    ("prompt", "filename", "prefix"),
    [
        (
            "<|repo_name|>demo\n<|file_sep|>o.py\nx = 1\n<|file_sep|>src/add.py\n" + P,
            "src/add.py",
            P,
        ),
        ("<|file_sep|>add.py\n" + P + '"<|file_sep|>', "add.py", P + '"<|file_sep|>'),
        ("<repo_name>demo\n<file_sep>o.py\nx = 1\n<file_sep>add.py\n" + P, "add.py", P),
        ("<reponame>demo<filename>add.py<gh_stars>0\n" + P, "add.py", P),
        ("<|repo_name|>demo\n" + P, None, "<|repo_name|>demo\n" + P),
        ("<|file_sep|>add.py\n" + TWINNY_4 + P, "src/app.ts", P),
        (TWINNY_4 + P, "src/app.ts", P),
        ("// File: helper.ts \nhelp()\n\n" + TWINNY_4 + P, "src/app.ts", P),
        ("+++++ o.py\nx = 1\n\n+++++ src/add.py\n" + P, "src/add.py", P),
        ("<filename>a.pdf</filename>\n<size>1", None, "<filename>a.pdf</filename>\n<size>1"),
        ("# Language: English (en)\nx = 1\n", None, "# Language: English (en)\nx = 1\n"),
        ("a\n+++++ b\nc", None, "a\n+++++ b\nc"),
    ],
)
def test_a_prompt_without_markers_may_have_other_files_in_front(
    prompt: str, filename: str | None, prefix: str
) -> None:
    fill = plain_fill(prompt, S)
    assert (fill.filename, fill.prefix, fill.suffix) == (filename, prefix, S)


def test_an_answer_that_was_begun_belongs_to_the_prefix() -> None:
    found = parse_fim_prompt(f"<fim_prefix>{P}<fim_suffix>{S}<fim_middle>a +")
    assert found is not None
    assert found[0].prefix == P + "a +"


def test_a_blank_behind_the_marker_of_the_suffix_belongs_to_code_llamas_notation() -> None:
    """Meta's own form has none, so there a suffix loses the blank that it begins with."""
    found = parse_fim_prompt("<PRE> f(a, <SUF> b) <MID>")
    assert found is not None
    assert (found[0].prefix, found[0].suffix) == ("f(a,", "b)")


CODE = {
    "a template": 'f"{pre}{{p}}{suf}{{s}}{mid}"',
    "a list": '["{pre}", "{suf}", "{mid}"]',
    "constants": 'MIDDLE = "{mid}"\nPREFIX = "{pre}"\nSUFFIX = "{suf}"',
    "one marker": 'mark = "{suf}"',
    "another marker": "# see `{pre}`",
    "the end of a prompt": '"{mid}"',
}


def written(template: FimTemplate, prefix: str, suffix: str, order: str) -> str:
    pre, suf, mid = template.markers
    if template.blanks:
        pre, suf, mid = f"{pre} ", f" {suf}", f" {mid}"
    if order == "prefix first":
        return pre + prefix + suf + suffix + mid
    if order == "suffix first":
        return (
            suf.lstrip()
            + suffix
            + f" {pre}" * template.blanks
            + pre * (not template.blanks)
            + prefix
            + mid
        )
    return suf + suffix + pre + prefix


@pytest.mark.parametrize("place", ["prefix", "suffix", "both"])
@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.prefix)
def test_markers_in_the_users_code_are_text(template: FimTemplate, code: str, place: str) -> None:
    pre, suf, mid = template.markers
    text = code.replace("{pre}", pre).replace("{suf}", suf).replace("{mid}", mid)
    prefix = f"a = 1\n{text}\nb = " if place != "suffix" else P
    suffix = f"\n{text}\nend\n" if place != "prefix" else S
    for order in ("prefix first", "suffix first", *["no middle"] * template.ends_with_prefix):
        found = parse_fim_prompt(written(template, prefix, suffix, order))
        assert found is not None, order
        assert (found[0].prefix, found[0].suffix) == (prefix, suffix), order


OTHER_MARKERS = st.sampled_from([m for t in TEMPLATES for m in t.markers])
PIECES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["a", "\n", " ", '"', "<", "[", "{", "<|", "+ ", "f(", ")"]),
)


@given(
    data=st.data(),
    template=st.sampled_from(TEMPLATES),
    order=st.sampled_from(["prefix first", "suffix first"]),
)
def test_both_sides_come_back_whatever_markers_they_have(
    data: st.DataObject, template: FimTemplate, order: str
) -> None:
    """Markers of other notations stand anywhere, those of the same one in complete lists."""
    other = OTHER_MARKERS.filter(
        lambda marker: (
            marker not in template.markers
            and not any(marker in mark or mark in marker for mark in template.markers)
        )
    )
    lists = st.permutations(template.markers).map(
        lambda marks: "[" + ", ".join(f"'{mark}'" for mark in marks) + "]"
    )
    text = st.lists(st.one_of(PIECES, other, lists), max_size=8).map("".join)
    prefix = "x" + data.draw(text) + "y"
    suffix = "z" + data.draw(text) + "x"
    found = parse_fim_prompt(written(template, prefix, suffix, order))
    assert found is not None
    assert (found[0].prefix, found[0].suffix) == (prefix, suffix)


@given(
    template=st.sampled_from(TEMPLATES),
    prefix=st.text(st.characters(exclude_characters="<[+#", exclude_categories=["Cs"])),
    suffix=st.text(st.characters(exclude_characters="<[+#", exclude_categories=["Cs"])),
    order=st.sampled_from(["prefix first", "suffix first", "no middle"]),
)
def test_both_sides_come_back_exactly(
    template: FimTemplate, prefix: str, suffix: str, order: str
) -> None:
    if template.blanks:
        prefix, suffix = f"x{prefix}x", f"x{suffix}x"
    if order == "no middle" and not template.ends_with_prefix:
        order = "prefix first"
    if (prefix[:1], prefix[-1:], suffix[-1:]) == (" ", " ", " "):
        suffix += "x"  # the blanks of ProxyAI
    found = parse_fim_prompt(written(template, prefix, suffix, order))
    assert found is not None
    assert (found[0].prefix, found[0].suffix) == (prefix, suffix)


@given(
    st.text(max_size=200),
    st.lists(st.sampled_from([m for t in TEMPLATES for m in t.markers]), max_size=9),
)
def test_random_text_is_never_an_error(text: str, marks: list[str]) -> None:
    parse_fim_prompt(text.join(marks))
    plain_fill(text.join(marks))


def searches(prompt: str) -> int:
    """The calls that parsing makes; each is at most one pass over the prompt."""
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        parse_fim_prompt(prompt)
        plain_fill(prompt)
    finally:
        sys.setprofile(None)
    return calls


HOSTILE = {
    "every marker": "".join(m for t in TEMPLATES for m in t.markers),
    "every marker in a line": "".join(f"{m}\n" for t in TEMPLATES for m in t.markers),
    "one template": "<PRE> <SUF> <MID>",
    "headers": "<|file_sep|>a.py\n<|fim_prefix|>",
    "quoted separators": '"<|file_sep|>',
    "comments with names": "# a.py\n<PRE>",
    "files of codestral": "\n\n+++++ ",
    "headers of twinny": TWINNY,
    "chat templates": "<|im_end|>\n<|im_start|>assistant\n",
    "begins of sequence": "<s>",
    "half a marker": "<fim_prefi",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_prompt_of_a_megabyte_takes_as_many_searches_as_a_small_one(text: str) -> None:
    small, large = (f"<|file_sep|>{text * (size // len(text))}" for size in (100_000, 1_000_000))
    assert searches(large) <= searches(small) + 10
    assert searches(large) < 20_000
