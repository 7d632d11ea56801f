from __future__ import annotations

from functools import partial

import pytest

from emulator.prompt import parse_prompt
from tests.counting import calls_of


@pytest.mark.parametrize(
    ("inputs", "blocks"),
    [
        ("", []),
        ("no markers at all", []),
        ("<|user|>\nhi\n<|end|>", [("user", "hi")]),
        ("<|system|>\n<|end|>\n<|user|>\nhi\n<|end|>", [("system", ""), ("user", "hi")]),
        ("<|user|>\n\n two\nlines \n\n<|end|>", [("user", "\n two\nlines \n")]),
        (">rest of a cut block\n<|end|>\n<|user|>\nhi\n<|end|>", [("user", "hi")]),
        ("<|user|>\nnever closed\n<|user|>\nhi", [("user", "never closed"), ("user", "hi")]),
        ("<|user|>\na\n<|END|>\n<|System|>\nb\n<|end|>", [("user", "a"), ("system", "b")]),
        (
            "<|user|>\na <| end |> b <|endoftext|>\n<|end|>",
            [("user", "a <| end |> b <|endoftext|>")],
        ),
    ],
)
def test_blocks_are_read_leniently(inputs: str, blocks: list[tuple[str, str]]) -> None:
    assert [(b.role, b.text) for b in parse_prompt(inputs).blocks] == blocks


@pytest.mark.parametrize(
    ("ending", "opened", "prefill"),
    [
        ("<|assistant|>", True, ""),
        ("<|assistant|>\n", True, ""),
        ("\n<|assistant|>", True, ""),
        ("<|assistant|>\nSure, \n", True, "Sure,"),
        ("", False, ""),
        ("<|assistant|>\nSure.\n<|end|>", False, ""),
    ],
)
def test_every_known_ending_shows_whether_the_answer_is_open(
    ending: str, opened: bool, prefill: str
) -> None:
    prompt = parse_prompt("<|user|>\nhi\n<|end|>\n" + ending)
    assert (prompt.ends_with_assistant, prompt.prefill) == (opened, prefill)


def test_earlier_turns_are_those_before_the_last_user_block() -> None:
    turn = "<|user|>\nq\n<|end|>\n<|assistant|>\na\n<|end|>\n"
    prompt = parse_prompt("<|system|>\ns\n<|end|>\n" + turn * 2 + "<|user|>\nlast\n<|end|>")
    assert (prompt.earlier_turns, prompt.last_user, prompt.system) == (4, "last", "s")


def test_a_long_prompt_of_many_blocks_is_read_in_linear_time() -> None:
    """Reading all of it for each block would not end in time."""
    block = "<|user|>\nx\n<|end|>\n"
    work = [calls_of(partial(parse_prompt, block * count)) for count in (2000, 20_000)]
    assert work[1] < 11 * work[0]
    assert len(parse_prompt(block * 200_000).blocks) == 200_000
