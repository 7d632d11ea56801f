"""The start and the end of a conversation."""

from __future__ import annotations

import pytest

from gateway.fitten.conversation import (
    add_to_system_block,
    begun_answer,
    leading_system_messages,
)
from gateway.generation.request import Message, ToolCall

A, B = Message("system", "a"), Message("system", "b")
NOTHING = Message("system", "")
ADDED, DEFAULT = Message("system", "added"), Message("system", "default")
USER = Message("user", "u")


@pytest.mark.parametrize(
    ("messages", "count"),
    [([], 0), ([USER, A], 0), ([A], 1), ([A, B, USER, A], 2), ([NOTHING, USER], 1)],
)
def test_the_system_messages_before_all_others_are_counted(
    messages: list[Message], count: int
) -> None:
    assert leading_system_messages(messages) == count


@pytest.mark.parametrize(
    ("messages", "wanted"),
    [
        ([A, USER], [A, ADDED, USER]),
        ([A, B, USER, A], [A, B, ADDED, USER, A]),
        ([USER, A], [DEFAULT, ADDED, USER, A]),
        ([NOTHING, USER], [DEFAULT, ADDED, USER]),
        ([NOTHING, A, USER], [A, ADDED, USER]),
        ([], [DEFAULT, ADDED]),
    ],
)
def test_an_added_text_stands_at_the_end_of_the_system_block(
    messages: list[Message], wanted: list[Message]
) -> None:
    assert add_to_system_block(messages, "added", default_system="default") == tuple(wanted)


def test_only_a_last_message_of_an_assistant_is_continued() -> None:
    said = Message("assistant", "x")
    called = Message("assistant", "x", calls=(ToolCall("c", "f", "{}"),))
    assert begun_answer([USER, said]) is said
    for messages in ([], [USER], [said, USER], [said, A], [USER, called], [said, called]):
        assert begun_answer(messages) is None
