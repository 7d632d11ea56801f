"""Chooses the value that marks the blocks of a conversation, so that no text can forge them.

The value stands in the opening and closing lines of tools, calls and results. It is the same in
all turns of a conversation, since it is made of the first message of the user. It occurs nowhere
else in the request, so only the model can open or close a block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from gateway.generation.request import Message

# Without letters and digits that look alike.
_ALPHABET = "ABCDEFGHJKMNPQRTUVWXYZ2346789"
_LENGTH = 4
_TRIES = 64  # a prompt as long as the limit can have less than half of all values
_LONG = 16

PATTERN = rf"[{_ALPHABET}]{{{_LENGTH},{_LONG}}}"
"""Fits each value, as part of a regular expression."""


def candidates(messages: Sequence[Message], key: bytes) -> Iterator[str]:
    """Yield values for a conversation, best first; the last one is long, so no text has it.

    key: the gateway's secret. All workers have the same, also after a restart.
    """
    first = next((message.text for message in messages if message.role == "user"), "")
    seed = hashlib.blake2b(first.encode("utf-8", "surrogatepass"), key=key[:64]).digest()
    for number in range(_TRIES + 1):
        digest = hashlib.blake2b(number.to_bytes(2, "big"), key=seed).digest()
        length = _LENGTH if number < _TRIES else _LONG
        yield "".join([_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length]])
