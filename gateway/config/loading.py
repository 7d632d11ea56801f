"""Reads a configuration file into settings, and finds all that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from gateway import options
from gateway.config import chain_order, machine, team_names
from gateway.config.admin import AdminSettings, exposed_admin, shared_keys
from gateway.config.document import read_document
from gateway.config.settings import (
    AuditSettings,
    Config,
    ConfigError,
    FittenSettings,
    ImageSettings,
    LedgerSettings,
    LimitSettings,
    LogSettings,
    ModelSettings,
    ServerSettings,
    StoreSettings,
    StreamSettings,
    Teams,
    ToolSettings,
    exposure_fault,
)
from gateway.middleware import read_middlewares
from gateway.options import Mistakes
from gateway.redaction import Redactor, masked_name


def load_config(
    path: Path,
    environ: Mapping[str, str] | None = None,
    *,
    without_secrets: bool = False,
    check_address: bool = False,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Config:
    """Read the settings from a file: `.ini` as the original program's INI, others as YAML.

    environ: the values of `${NAME}`; the process's environment unless given.
    without_secrets: whether the secrets of `${credential:NAME}` and `${file:PATH}` are not
        read; placeholders take their place. The settings are those of another user's service
        then, so files are not checked.
    check_address: whether `server.host` must be an address of this machine.
    on_warning: called with each line about what works, but is probably not meant.
    Raises ConfigError with all mistakes.
    """
    environ = os.environ if environ is None else environ
    document = read_document(path, environ, without_secrets=without_secrets)
    mistakes = document.mistakes
    config = None
    if document.readable:
        config = _settings(document.data, mistakes, folder=path.absolute().parent / "middlewares")
    if config is not None:
        config = replace(config, store=config.store.below(path.absolute().parent))
    if config is not None and not without_secrets:
        machine.check_files(config, mistakes)
        host = config.server.host
        if check_address and (fault := machine.address_fault(host)):
            mistakes["server.host"] = f"{host} {fault}"
    redactor = Redactor([*document.secrets, *(config.secrets() if config is not None else ())])

    def lines(found: Mapping[str, str]) -> list[str]:
        return [redactor(document.place(path, where) + found[where]) for where in found]

    if mistakes:
        raise ConfigError(lines(mistakes))
    assert config is not None
    for line in lines(mistakes.warnings):
        on_warning(line)
    return config


_SECTIONS = {
    "server": ServerSettings,
    "stream": StreamSettings,
    "fitten": FittenSettings,
    "images": ImageSettings,
    "tools": ToolSettings,
    "models": ModelSettings,
    "limits": LimitSettings,
    "log": LogSettings,
    "store": StoreSettings,
    "ledger": LedgerSettings,
    "audit": AuditSettings,
    "admin": AdminSettings,
}


def _settings(data: Any, mistakes: Mistakes, *, folder: Path | None = None) -> Config | None:
    """Return the settings, or None when there are mistakes.

    All sections are read, also after a mistake, so that all mistakes are reported.
    folder: the operator's own middlewares.
    """
    data = {} if data is None else data
    known = (*_SECTIONS, "teams", "middlewares")
    if not isinstance(data, dict):
        mistakes[""] = f"expected a mapping with {', '.join(known)}"
        return None
    for name in data:
        if name not in known:
            mistakes[masked_name(name)] = _unknown_section(name, known)
    values = {
        name: options.read_value(kind, data.get(name, {}), name, mistakes)
        for name, kind in _SECTIONS.items()
    }
    values["teams"] = options.read_value(Teams, data.get("teams") or (), "teams", mistakes)
    if data.get("middlewares") is None:
        mistakes["middlewares"] = "is missing; see config.yaml for the usual list"
    chain = read_middlewares(data.get("middlewares") or [], "middlewares", mistakes, folder=folder)
    names = [entry.name for entry in chain]
    if not any(where.startswith("middlewares") for where in mistakes):
        mistakes.warnings |= chain_order.order_warnings(names, "middlewares")
        if (teams := values["teams"]) is not options.UNSET:
            mistakes |= team_names.unknown_teams(chain, [team.name for team in teams])
    server = values["server"]
    if server is not options.UNSET and (fault := exposure_fault(server, chain)):
        mistakes.setdefault("server.host", fault)
    admin = values["admin"]
    if admin is not options.UNSET:
        if fault := exposed_admin(admin):
            mistakes.setdefault("admin.listen", fault)
        mistakes |= shared_keys(admin, chain)
    return None if mistakes else Config(middlewares=chain, **values)


def _unknown_section(name: str, known: tuple[str, ...]) -> str:
    """Return what is wrong with a name at the outermost level."""
    inside = [
        section for section, kind in _SECTIONS.items() if name in {f.name for f in fields(kind)}
    ]
    if inside:
        return f"is an option of {' or '.join(inside)}; indent it under {inside[0]}:"
    return f"unknown option;{options.did_you_mean(name, known)} known: {', '.join(known)}"
