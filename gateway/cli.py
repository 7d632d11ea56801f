"""The command line: serve, check, demo, version.

Commands import what they need when they run, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__

if TYPE_CHECKING:
    from gateway.config import Config

_USAGE = 2  # the exit status of a configuration or a command line that cannot be used


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit status."""
    arguments = _parser().parse_args(argv)
    command = arguments.command
    if command == "version":
        print(__version__)
        return 0
    if command == "demo":
        from gateway.demo import run

        return run(port=arguments.port)
    config = _load(arguments)
    if config is None:
        return _USAGE
    return _check(config) if command == "check" else _serve(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="An OpenAI-compatible gateway in front of Fitten Code.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the gateway")
    check = commands.add_parser(
        "check", help="print the effective configuration, secrets masked; exit 0 or 2"
    )
    for command in (serve, check):
        command.add_argument("--config", metavar="PATH", default="config.yaml", type=Path)
        command.add_argument("--host", help="listen here instead of server.host")
        command.add_argument("--port", type=int, help="listen here instead of server.port")
    demo = commands.add_parser("demo", help="run the gateway before the bundled Fitten emulator")
    demo.add_argument("--port", type=int, default=5000)
    commands.add_parser("version", help="print the version")
    return parser


def _load(arguments: argparse.Namespace) -> Config | None:
    from gateway.config import ConfigError, load

    try:
        config = load(arguments.config)
        return config.listening_on(host=arguments.host, port=arguments.port)
    except ConfigError as error:
        count = len(error.mistakes)
        print(f"The configuration has {count} mistake{'s'[: count - 1]}:", file=sys.stderr)
        for mistake in error.mistakes:
            print(f"  {mistake}", file=sys.stderr)
        return None


def _check(config: Config) -> int:
    import yaml

    yaml.safe_dump(config.as_data(), sys.stdout, sort_keys=False, allow_unicode=True)
    return 0


def _serve(config: Config) -> int:
    from gateway import log, server

    redactor = log.Redactor(config.secrets())
    try:
        outputs = log.configure(config.log, redactor)
        with contextlib.closing(outputs):
            server.run(server.serve(config, on_secret=redactor.add, before_exit=outputs.flush))
    except OSError as error:
        print(f"Cannot start: {error}", file=sys.stderr)
        return 1
    return 0
