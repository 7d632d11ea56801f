"""Makes the ids of keys, teams and grants."""

from __future__ import annotations

import secrets
from typing import Final

ID_LENGTH: Final = 12
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


def new_id() -> str:
    """Return a new random id: 12 characters of a to z and 2 to 7."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_LENGTH))
