"""Runs the gateway and the bundled emulator of Fitten in one process, without an account."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import replace

from emulator import EmulatedAccount as EmulatedAccount
from emulator import Emulator
from gateway import options
from gateway.config import settings as config
from gateway.config.ini_file import default_middlewares
from gateway.middleware import MiddlewareEntry, read_middlewares
from gateway.observability import logging as log
from gateway.redaction import Redactor
from gateway.server.run import run_event_loop, serve_until_stopped
from gateway.server.single_process import SingleProcess

KEY = "fg-demo-key"
_USERNAME, _PASSWORD = "demo_user", "correct horse"

_WELCOME = """
The gateway is at {url}/v1 and its key is {key}; an emulator stands in for Fitten.

  curl -N {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -d '{{"model": "fitten-code", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

Ctrl-C stops both.
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
                middlewares=_chain(),
            )
            redactor = Redactor(settings.secrets())
            with contextlib.closing(log.configure_logging(settings.log, redactor)):
                service = SingleProcess(settings, on_secret=redactor.add)
                await serve_until_stopped(service, on_ready=_welcome)


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


def _welcome(url: str) -> None:
    print(_WELCOME.format(url=url, key=KEY), flush=True)
