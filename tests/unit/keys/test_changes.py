"""What is asked for is decoded strictly: absent keeps, null clears, unknown is refused."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET

from gateway.keys.changes import KeyChange, LimitValues, NewGrant, NewKey, TeamChange
from gateway.limits.names import LIMIT_NAMES


def test_there_is_a_field_for_every_limit() -> None:
    assert LimitValues.__struct_fields__ == LIMIT_NAMES


def test_null_is_not_the_same_as_absent() -> None:
    change = msgspec.json.decode(
        b'{"note": null, "limits": {"tokens_per_day": null, "concurrency": 3}}', type=KeyChange
    )
    assert change.note is None
    assert change.name is UNSET
    assert isinstance(change.limits, LimitValues)
    assert change.limits.given() == {"concurrency": 3, "tokens_per_day": None}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (NewKey, '{"name": "a", "rpm": 5}'),
        (NewKey, '{"name": "a", "limits": {"tokens_per_week": 5}}'),
        (NewKey, '{"name": "a", "limits": {"concurrency": 1.5}}'),
        (NewKey, '{"name": "a", "limits": {"concurrency": -1}}'),
        (NewKey, '{"name": "a", "limits": {"tokens_per_day": 1000000000000001}}'),
        (NewKey, '{"name": ""}'),
        (NewKey, "{}"),
        (NewKey, '{"name": "a", "kind": "root"}'),
        (KeyChange, '{"name": null}'),
        (KeyChange, '{"kind": "admin"}'),
        (KeyChange, '{"blocked_at": null}'),
        (TeamChange, '{"team": "web"}'),
        (NewGrant, '{"scope": "key", "scope_id": "a", "limit": "concurrency", "amount": 1}'),
        (NewGrant, '{"scope": "key", "scope_id": "a", "limit": "tokens_per_day", "amount": 0}'),
    ],
)
def test_what_cannot_be_stored_is_not_decoded(kind: type[msgspec.Struct], text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=kind)
