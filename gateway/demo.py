"""Runs the gateway and the bundled emulator of Fitten in one process, without an account."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from emulator import EmulatedAccount as EmulatedAccount
from emulator import Emulator
from gateway import options
from gateway.config import settings as config
from gateway.config.admin import AdminSettings
from gateway.config.ini_file import default_middlewares
from gateway.keys.changes import Actor, NewKey
from gateway.keys.manager import KeyManager
from gateway.middleware import MiddlewareEntry, read_middlewares
from gateway.observability import logging as log
from gateway.redaction import Redactor
from gateway.server.run import run_event_loop, serve_until_stopped
from gateway.server.single_process import SingleProcess
from gateway.terminal import program

KEY = "fg-demo-key"
_USERNAME, _PASSWORD = "demo_user", "correct horse"

_LARGEST_PORT = 65_535

_WELCOME = """
The gateway is at {url}/v1 and its key is {key}; an emulator stands in for Fitten.

  curl -N {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -d '{{"model": "fitten-code", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

Its admin API is at {admin_url}. In another terminal, the commands of a team lead reach it so:

  export FITTEN_GATEWAY_ADMIN_URL={admin_url} FITTEN_GATEWAY_ADMIN_KEY={admin_key}
  {program} keys add alice --tokens-per-day 2m

Ctrl-C stops both, and nothing is kept.
"""  # noqa: E501  a line to be copied must stay whole


def run(*, port: int) -> int:
    """Run until interrupted and return the exit status."""
    try:
        run_event_loop(_run(port))
    except OSError as error:
        print(f"Cannot start: {error}; try make demo PORT=5001", file=sys.stderr)
        return 1
    return 0


async def _run(port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Emulator(
            accounts=[EmulatedAccount(_USERNAME, _PASSWORD)], pace=0.03
        ) as emulator:
            settings = config.Config(
                fitten=config.FittenSettings(
                    accounts=(config.AccountSettings(_USERNAME, options.Secret(_PASSWORD)),),
                    base_url=emulator.url,
                    models_url=emulator.url,
                    state_file=f"{folder}/fitten.json",
                ),
                server=config.ServerSettings(port=port, drain_timeout=3.0),
                admin=AdminSettings(listen=f"127.0.0.1:{_admin_port(port)}"),
                middlewares=_chain(),
            )
            admin_key = _admin_key(Path(folder) / "team.db")
            redactor = Redactor(settings.secrets())
            with contextlib.closing(log.configure_logging(settings.log, redactor)):
                service = SingleProcess(settings, on_secret=redactor.add)
                await serve_until_stopped(
                    service, on_ready=lambda url: _welcome(url, service.admin.url, admin_key)
                )


def _chain() -> tuple[MiddlewareEntry, ...]:
    """Return the usual chain with the demo's key.

    The key is put in afterwards, because it is public: in a configuration it is a mistake.
    """
    chain = read_middlewares(default_middlewares("x" * 15 + "y"), "middlewares", options.Mistakes())
    for entry in chain:
        if "keys" in entry.options:
            (key,) = entry.options["keys"]
            entry.options["keys"] = [replace(key, key=options.Secret(KEY))]
    return chain


def _admin_port(port: int) -> int:
    """Return the port after that of the gateway; 0, for any, if that is 0 or the last one."""
    return port + 1 if 0 < port < _LARGEST_PORT else 0


def _admin_key(store: Path) -> str:
    """Make an admin key in a new store, which is gone with the demo."""
    manager = KeyManager(store)
    try:
        issued = manager.add_key(Actor("demo"), NewKey(name="demo", kind="admin", role="admin"))
    finally:
        manager.close()
    assert issued.text is not None
    return issued.text


def _welcome(url: str, admin_url: str | None, admin_key: str) -> None:
    print(
        _WELCOME.format(
            url=url, key=KEY, admin_url=admin_url, admin_key=admin_key, program=program()
        ),
        flush=True,
    )
