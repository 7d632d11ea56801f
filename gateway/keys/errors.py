"""Defines the errors of changes to keys, teams and grants, as the admin API shows them."""

from __future__ import annotations

from gateway.errors import InvalidRequest, NotFound, Unavailable


class UnknownObject(NotFound):
    """Reports that there is no such key, team or session."""

    code = "not_found"


class ChangeConflict(InvalidRequest):
    """Reports that a change does not fit to what is stored; the code says why.

    Codes: `name_taken`, `managed_by_config`, `team_has_keys`, `no_store`,
    `idempotency_conflict`.
    """

    status = 409


class VersionConflict(InvalidRequest):
    """Reports that somebody else has changed the object since the caller read it."""

    status = 412
    code = "version_conflict"


class InvalidValue(InvalidRequest):
    """Reports a value that cannot be stored; `param` is the path of its field."""

    code = "invalid_value"


class StoreUnavailable(Unavailable):
    """Reports that the database could not be read or written; nothing has changed."""

    code = "store_unavailable"


def managed_by_config(subject: str) -> ChangeConflict:
    """Return the error of a change of what stands in config.yaml. subject: begins a sentence."""
    return ChangeConflict(
        f"{subject} belongs to config.yaml, so it cannot be changed here. Edit that file and "
        "reload.",
        code="managed_by_config",
    )
