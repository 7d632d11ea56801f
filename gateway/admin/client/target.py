"""Finds what a command works on: a running gateway, or the store of one that does not run."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.admin.client.connection import AdminConnection, url_fault
from gateway.admin.client.refusal import AdminRefusal, NoGateway, WrongTarget
from gateway.arguments import ADMIN_URL_VARIABLE
from gateway.config.local_settings import LocalSettings, read_local_settings

if TYPE_CHECKING:
    from gateway.admin.client.administration import Administration

KEY_VARIABLE: Final = "FITTEN_GATEWAY_ADMIN_KEY"
"""The environment variable of the admin key."""

_MOST: Final = 4096  # bytes of a key file


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """Holds how a command line names a gateway.

    config: the configuration of a gateway on this machine, which counts without an address.
    """

    config: Path
    url: str | None = None
    key_file: Path | None = None


def connect(options: TargetOptions, environ: Mapping[str, str]) -> AdminConnection:
    """Return a connection to a running gateway.

    Raises AdminRefusal if there is none, or no key for it, and WrongTarget; ConfigError for a
    wrong configuration.
    """
    found = _by_address(options, environ)
    if found is not None:
        return found
    settings = read_local_settings(options.config, environ)
    connection = _by_socket(settings)
    if connection is None:
        raise AdminRefusal(_not_running(settings))
    return connection


@contextlib.contextmanager
def administration(options: TargetOptions, environ: Mapping[str, str]) -> Iterator[Administration]:
    """Return what changes keys and teams: a running gateway, else its store.

    Raises AdminRefusal; ConfigError for a wrong configuration.
    """
    from gateway.admin.client.remote import RemoteAdministration

    found = _by_address(options, environ)
    if found is None:
        settings = read_local_settings(options.config, environ)
        found = _by_socket(settings)
        if found is None:
            from gateway.admin.client.offline import open_store

            with open_store(settings) as store:
                yield store
            return
    yield RemoteAdministration(found)


def _by_address(options: TargetOptions, environ: Mapping[str, str]) -> AdminConnection | None:
    """Return a connection over TCP, if an address is given."""
    url = options.url or environ.get(ADMIN_URL_VARIABLE)
    if not url:
        if options.key_file is not None:
            raise WrongTarget("--key-file needs --url: on this machine no key is needed.")
        return None
    if fault := url_fault(url):
        raise WrongTarget(f"--url: {fault}.")
    return AdminConnection(url, _key(options.key_file, environ))


def _key(file: Path | None, environ: Mapping[str, str]) -> str:
    """Return the admin key. It is never an argument: other users see those."""
    key = environ.get(KEY_VARIABLE, "").strip() if file is None else _read_key(file)
    if not key:
        raise AdminRefusal(
            f"There is no admin key. Set {KEY_VARIABLE}, or name a file of mode 0600 by --key-file."
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise AdminRefusal("The admin key has a blank or a character that cannot be sent.")
    return key


def _read_key(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise AdminRefusal(f"--key-file: {file} is not a regular file.")
            if state.st_mode & 0o077:
                raise AdminRefusal(f"--key-file: other users can read {file}: chmod 600 it.")
            return opened.read(_MOST).decode().strip()
    except OSError as error:
        raise AdminRefusal(f"--key-file: {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise AdminRefusal(f"--key-file: {file} is not text.") from None


def _by_socket(settings: LocalSettings) -> AdminConnection | None:
    """Return a connection to the gateway of this machine; None if none listens."""
    for path in settings.sockets:
        connection = AdminConnection(path)
        try:
            connection.check()
        except NoGateway as error:
            if error.denied:
                raise AdminRefusal(
                    f"{path} belongs to another user. Run this as root or as the user of the "
                    f"gateway, or use --url with an admin key in {KEY_VARIABLE}."
                ) from None
            continue
        return connection
    return None


def _not_running(settings: LocalSettings) -> str:
    places = " or ".join(map(str, settings.sockets))
    return (
        f"No gateway runs here: nothing listens at {places}. Start it, or name the address of its "
        "admin API by --url."
    )
