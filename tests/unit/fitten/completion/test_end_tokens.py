"""End tokens of models are no part of a suggestion, unless they are the user's own text."""

from __future__ import annotations

import pytest

from gateway.fitten.completion.end_tokens import without_end_tokens

# Before and after the cursor (`¦`), the suggestion, and what is left of it.
END_TOKENS: dict[str, tuple[str, str, str]] = {
    "qwen": ("x = ¦", "1<|im_end|>", "1"),
    "qwen, the next file": ("x = ¦", "1\n<|file_sep|>other.py\ny = 2", "1\n"),
    "qwen, padding": ("x = ¦", "1<|fim_pad|><|fim_pad|>", "1"),
    "qwen, a repository": ("x = ¦", "1<|repo_name|>demo", "1"),
    "starcoder, the next file": ("x = ¦", "1<file_sep>other.py\ny", "1"),
    "starcoder": ("x = ¦", "1<fim_middle>2", "1"),
    "starcoder, a closing tag": ("x = ¦", "1</fim_middle>", "1"),
    "santacoder": ("x = ¦", "1<fim-pad>", "1"),
    "deepseek": ("x = ¦", "1<｜end▁of▁sentence｜>", "1"),
    "deepseek, a marker": ("x = ¦", "1<｜fim▁hole｜>2", "1"),
    "deepseek instruct": ("x = ¦", "1\n<|EOT|>", "1\n"),
    "code llama": ("x = ¦", "1 <EOT>", "1"),
    "code llama, and on": ("x = ¦", "1 <EOT>\n\n\ny", "1"),
    "code llama, a marker": ("x = ¦", "1 <MID>", "1 "),
    "incoder": ("x = ¦", "1<|endofmask|>", "1"),
    "llama 3": ("x = ¦", "1<|eot_id|><|start_header_id|>user", "1"),
    "padding": ("x = ¦", "1<pad><pad>", "1"),
    "codegemma": ("x = ¦", "1<|file_separator|>", "1"),
    "gemma": ("x = ¦", "1<end_of_turn>\n<eos>", "1"),
    "codestral": ("x = ¦", "1</s>", "1"),
    "seed-coder": ("x = ¦", "1<[end▁of▁sentence]>", "1"),
    "codegeex": ("x = ¦", "1<|user|>\nnext", "1"),
    "granite": ("x = ¦", "1<|end_of_text|>", "1"),
    "fitten, anywhere": ("x = ¦", "<|endoftext|>1<|endoftext|> + 2", "1 + 2"),
    "nothing but a token": ("x = ¦", "<|im_end|>", ""),
    "less than": ("x = ¦", "a < b and c <d", "a < b and c <d"),
    "a generic type": ("x: ¦", "List<Item>", "List<Item>"),
    "a pipe": ("x = ¦", "a <| b |> c", "a <| b |> c"),
    "half a token": ("x = ¦", "a<|im_en", "a<|im_en"),
    "an unknown token": ("x = ¦", "a<|mine|>", "a<|mine|>"),
    "a tag": ("¦", "<s>old</s>", "<s>old</s>"),
    "a tag of the line": ("<s>¦", "old</s>", "old</s>"),
    "in a string": ("x = ¦", 'tokens["<|im_end|>"] + 1', 'tokens["<|im_end|>"] + 1'),
    "fitten's in a string": ("x = ¦", 'f("<|endoftext|>")', 'f("<|endoftext|>")'),
    "in a string of the file": ('x = "¦"', "<eos>", "<eos>"),
    "behind a string": ("x = ¦", '"a"<|im_end|>', '"a"'),
    "behind an apostrophe": ("# ¦", "don't<|im_end|>", "don't"),
    "in the file too": ("a<|im_end|>\n¦", "b<|im_end|>\n", "b<|im_end|>\n"),
    "fitten's in the file too": ("'<|endoftext|>'\n¦", "b<|endoftext|>", "b"),
    "a placeholder": ("# usage: ¦", "prog <filename>", "prog <filename>"),
    "an index": ("x = ¦", "table[PREFIX]", "table[PREFIX]"),
}


@pytest.mark.parametrize(("around", "text", "kept"), END_TOKENS.values(), ids=END_TOKENS)
def test_end_tokens_of_models_are_cut_off(around: str, text: str, kept: str) -> None:
    prefix, _, suffix = around.partition("¦")
    assert without_end_tokens(text, prefix, suffix) == kept


def test_of_a_very_long_answer_only_fittens_own_token_is_removed() -> None:
    assert without_end_tokens("<|endoftext|>" + "<|im_end|>" * 20_000, "", "") == (
        "<|im_end|>" * 20_000
    )
