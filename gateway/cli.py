"""Runs the commands of the program, such as serve, check, setup, statusline and usage.

A command imports what it needs when it runs, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.admin.client import command_line as admin_command_line
from gateway.arguments import add_config_option, port
from gateway.doctor import command_line as doctor_command_line
from gateway.init import command_line as init_command_line
from gateway.ledger.commands import command_line as ledger_command_line
from gateway.replay import command_line as replay_command_line
from gateway.setup import command_line as setup_command_line

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.config.settings import Config, ConfigError
    from gateway.observability.logging import LogOutputs
    from gateway.redaction import Redactor
    from gateway.server.reload import ConfigSource
    from gateway.server.run import Service
    from gateway.store.state_lock import StateLock

_USAGE_ERROR = 2  # exit status of a wrong configuration; argparse uses it for a wrong command line


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the process's exit status."""
    if argv is None:  # no other program runs in this process
        sys.excepthook = _print_fatal_exception
    arguments = _arguments(sys.argv[1:] if argv is None else argv)
    command = arguments.command
    if command == "version":
        print(__version__)
        return 0
    if command == "demo":
        from gateway.demo import run

        return run(port=arguments.port)
    if command in admin_command_line.COMMANDS:
        return admin_command_line.run(arguments)
    if hasattr(arguments, "run"):
        return int(arguments.run(arguments))
    if command in ledger_command_line.COMMANDS:
        return _read_ledger(arguments)
    if command == "doctor" and not arguments.tools:
        print(
            "doctor: name a check: --tools, which costs chats. There is no other.", file=sys.stderr
        )
        return _USAGE_ERROR
    warnings: list[str] = []
    config = _load(arguments, warnings.append)
    if config is None:
        return _USAGE_ERROR
    if command == "check":
        return _check(config, warnings, arguments)
    if command == "doctor":
        return doctor_command_line.run(arguments, config)
    return _serve(config, warnings, arguments)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line. What follows the first `--` of "run" is for the program it starts."""
    words, rest = list(argv), []
    if words[:1] == ["run"] and "--" in words:
        end = words.index("--")
        words, rest = words[:end], words[end + 1 :]
    arguments = _parser().parse_args(words)
    arguments.rest = rest
    return arguments


def _print_fatal_exception(kind: type[BaseException], error: BaseException, _: object) -> None:
    from gateway.observability import tracebacks

    tracebacks.print_fatal_exception(kind, error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="An OpenAI-compatible gateway in front of Fitten Code.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the gateway")
    check = commands.add_parser(
        "check", help="print the effective configuration, secrets masked; exit 0 or 2"
    )
    add_config_option(serve, check)
    for command in (serve, check):
        command.add_argument("--host", help="address to listen on instead of server.host")
        command.add_argument("--port", type=port, help="port to listen on instead of server.port")
    check.add_argument("--quiet", action="store_true", help="print mistakes only")
    check.add_argument(
        "--without-secrets",
        action="store_true",
        help="do not read the secrets of ${credential:NAME} and ${file:PATH}",
    )
    doctor_command_line.add_commands(commands)
    demo = commands.add_parser("demo", help="run the gateway with the bundled Fitten emulator")
    demo.add_argument(
        "--port", type=port, default=5000, help="port to listen on; 5000 unless given"
    )
    init_command_line.add_commands(commands)
    setup_command_line.add_commands(commands)
    replay_command_line.add_commands(commands)
    ledger_command_line.add_commands(commands)
    admin_command_line.add_commands(commands)
    commands.add_parser("version", help="print the version")
    return parser


def _load(arguments: argparse.Namespace, on_warning: Callable[[str], None]) -> Config | None:
    from gateway.config.settings import ConfigError

    try:
        starting = arguments.command in ("serve", "check")
        return _settings(arguments, on_warning, starting=starting)
    except ConfigError as error:
        _print_mistakes(error)
        return None


def _settings(
    arguments: argparse.Namespace, on_warning: Callable[[str], None], *, starting: bool
) -> Config:
    """Read the settings, with the address of the command line.

    starting: whether the address will be listened on, and so must be one of this machine.
    Raises ConfigError.
    """
    from gateway.config.loading import load_config
    from gateway.config.machine import address_fault
    from gateway.config.settings import ConfigError

    config = load_config(
        arguments.config,
        without_secrets=getattr(arguments, "without_secrets", False),
        check_address=starting and arguments.host is None and "LISTEN_FDS" not in os.environ,
        on_warning=on_warning,
    )
    config = config.listening_on(host=arguments.host, port=arguments.port)
    if starting and arguments.host is not None and (fault := address_fault(arguments.host)):
        raise ConfigError([f"--host: {arguments.host} {fault}"])
    return config


def _print_mistakes(error: ConfigError) -> None:
    count = len(error.mistakes)
    print(f"The configuration has {count} mistake{'s'[: count - 1]}:", file=sys.stderr)
    for mistake in error.mistakes:
        print(f"  {mistake}", file=sys.stderr)


def _check(config: Config, warnings: list[str], arguments: argparse.Namespace) -> int:
    import yaml

    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    if (fault := _store_fault(config)) is not None:
        from gateway.config.settings import ConfigError

        _print_mistakes(ConfigError([f"{arguments.config}: store.url: {fault}"]))
        return _USAGE_ERROR
    if not arguments.quiet:
        try:
            yaml.safe_dump(config.as_data(), sys.stdout, sort_keys=False, allow_unicode=True)
            sys.stdout.flush()
        except BrokenPipeError:  # `check | head`: nobody reads the rest
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _store_fault(config: Config) -> str | None:
    """Return why the store that the configuration names cannot be used, if that shows."""
    if config.store.file is None:
        return None
    from gateway.ledger.commands.command import store_fault

    return store_fault(config.store.file)


def _read_ledger(arguments: argparse.Namespace) -> int:
    if arguments.command != "db":
        status = admin_command_line.show_ledger(arguments)
        if status is not None:
            return status
    from gateway.config.local_settings import read_local_settings
    from gateway.options import ConfigError

    try:
        settings = read_local_settings(arguments.config)
    except ConfigError as error:
        _print_mistakes(error)
        return _USAGE_ERROR
    if arguments.command == "db":
        return ledger_command_line.manage(arguments, settings.store_file)
    return ledger_command_line.show_file(arguments, settings.store_file, settings.time_zone)


def _serve(config: Config, warnings: list[str], arguments: argparse.Namespace) -> int:
    from gateway.config.settings import ConfigError
    from gateway.observability import logging as log
    from gateway.observability import tracebacks
    from gateway.redaction import Redactor
    from gateway.server import run, systemd
    from gateway.store.state_lock import StateLock

    redactor = Redactor(config.secrets())
    # Before anything starts a child process: a child must not see these variables.
    notifier = systemd.SystemdNotifier.from_environ(os.environ)
    try:
        sockets = systemd.inherited_sockets(os.environ)
        try:
            outputs = log.configure_logging(config.log, redactor)
        except OSError as error:  # only the file system knew, as with a full or odd one
            problem = f"log.file: cannot be written: {error.strerror}"
            raise ConfigError([f"{arguments.config}: {problem}"]) from None
        tracebacks.log_uncaught_exceptions()
        for warning in warnings:
            _log_warning(warning)
        with contextlib.closing(outputs), contextlib.closing(notifier), StateLock() as lock:
            _show_use_of_accounts(lock, config)
            run.run_event_loop(
                run.serve_until_stopped(
                    _service(config, sockets, redactor.add),
                    source=_config_source(arguments, redactor, outputs, lock),
                    notifier=notifier,
                    before_exit=outputs.flush,
                )
            )
    except OSError as error:
        print(f"Cannot start: {error}", file=sys.stderr)
        return 1
    except ConfigError as error:
        _print_mistakes(error)
        return _USAGE_ERROR
    return 0


def _service(
    config: Config, sockets: list[socket.socket], on_secret: Callable[[str], None]
) -> Service:
    if config.server.workers > 1:
        from gateway.workers.master import Master

        return Master(config, sockets=sockets, on_secret=on_secret)
    from gateway.server.single_process import SingleProcess

    return SingleProcess(config, sockets=sockets, on_secret=on_secret)


def _show_use_of_accounts(lock: StateLock, config: Config) -> None:
    """Hold the lock of the state file; log a warning if another process uses the accounts.

    Nothing that goes wrong here keeps the gateway from serving.
    """
    import structlog

    from gateway.redaction import os_error_text

    _log = structlog.get_logger("session")
    file = str(config.state_file)
    try:
        if not lock.take(config.state_file):
            _log.warning("state_file_in_use", file=file)
    except OSError as error:
        _log.info("state_file_not_locked", file=file, reason=os_error_text(error))


def _config_source(
    arguments: argparse.Namespace, redactor: Redactor, outputs: LogOutputs, lock: StateLock
) -> ConfigSource:
    """Return a source that reads the configuration file again at a reload."""
    from gateway.observability import logging as log
    from gateway.server.reload import ConfigSource

    def adopt(config: Config) -> None:
        log.configure_logging(config.log, redactor, outputs=outputs)
        redactor.renew(config.secrets())
        _show_use_of_accounts(lock, config)

    def load() -> Config:
        return _settings(arguments, _log_warning, starting=False)

    return ConfigSource(load, adopt, outputs.reopen, redactor.add)


def _log_warning(warning: str) -> None:
    import structlog

    _log = structlog.get_logger("config")
    _log.warning("config_warning", text=warning)
