"""Runs the command init: the first settings of a gateway, its first key and first admin key."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.admin.client.administration import JsonObject
from gateway.admin.client.refusal import AdminRefusal
from gateway.init.files import FirstFiles
from gateway.init.questions import NoAnswer, ask_account
from gateway.options import ConfigError
from gateway.redaction import os_error_text
from gateway.terminal import (
    FAILED,
    INTERRUPTED,
    USAGE_ERROR,
    print_json,
    print_note,
    program,
    run_command,
)

_ADMIN: Final = "root"
_DEFAULT: Final = Path("config.local.yaml")


@dataclass(frozen=True, slots=True)
class InitOptions:
    """Holds what the command line of init has.

    config: the file to write. key: the name of the first key.
    """

    config: Path = _DEFAULT
    username: str | None = None
    port: int = 5000
    admin_port: int = 5001
    key: str = "first"
    as_json: bool = False


def init(options: InitOptions) -> int:
    """Ask for the account, write the files, make the keys; return the exit status.

    Nothing is overwritten. If anything fails, no file of settings is left.
    """
    return run_command(lambda: _init(options))


def _init(options: InitOptions) -> int:
    files = FirstFiles(options.config)
    if existing := files.existing():
        print_note(f"init: nothing is overwritten; there is {', '.join(map(str, existing))}.")
        return FAILED
    if fault := files.unfit():
        print_note(f"init: {fault}.")
        return FAILED
    try:
        account = ask_account(options.username)
    except NoAnswer as error:
        print_note(f"init: {error}")
        return USAGE_ERROR
    except KeyboardInterrupt:
        print_note("\ninit: nothing was written.")
        return INTERRUPTED
    try:
        files.write(account, port=options.port, admin_port=options.admin_port)
    except OSError as error:
        print_note(f"init: the files cannot be written: {os_error_text(error)}.")
        return FAILED
    try:
        _check(options.config)
        key, admin_key = _first_keys(options)
    except ConfigError as error:
        files.remove()
        for mistake in error.mistakes:
            print_note(f"init: {mistake}")
        return USAGE_ERROR
    except AdminRefusal as error:
        files.remove()
        print_note(f"init: {error}")
        return FAILED
    _report(options, files, key, admin_key)
    return 0


def _check(config: Path) -> None:
    """Read the settings as a start does: a placeholder as the password is found now."""
    from gateway.config.loading import load_config

    load_config(config, on_warning=print_note)


def _first_keys(options: InitOptions) -> tuple[JsonObject, JsonObject]:
    from gateway.admin.client.offline import open_store
    from gateway.config.local_settings import read_local_settings

    with open_store(read_local_settings(options.config)) as store:
        key = store.add("keys", {"name": options.key})
        return key, store.add("admin-keys", {"name": _ADMIN, "role": "admin"})


def _report(
    options: InitOptions, files: FirstFiles, key: JsonObject, admin_key: JsonObject
) -> None:
    start = f"{program()} serve"
    if options.config != _DEFAULT:
        start += f" --config {shlex.quote(str(options.config))}"
    url = f"http://127.0.0.1:{options.port}/v1/models"
    test = f'curl {url} -H "Authorization: Bearer $FITTEN_GATEWAY_KEY"'
    if options.as_json:
        data: dict[str, Any] = {"config": str(files.config), "key": key, "admin_key": admin_key}
        print_json(data | {"start": start, "test": test})
    else:
        print(f"key:       {key['key']}")
        print(f"admin key: {admin_key['key']}")
    print_note(f"{files.config} was written; the secrets are in {files.password.parent}.")
    print_note("The keys are shown this once. Keep them, and set FITTEN_GATEWAY_KEY to the first.")
    print_note(f"Start the gateway:  {start}")
    print_note(f"Test it:            {test}")
