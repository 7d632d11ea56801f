"""Runs the commands of the program, such as serve, check, setup, statusline and usage.

A command imports what it needs when it runs, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.config.settings import Config, ConfigError
    from gateway.observability.logging import LogOutputs
    from gateway.redaction import Redactor
    from gateway.server.reload import ConfigSource
    from gateway.server.run import Service
    from gateway.setup.arguments import SetupArguments
    from gateway.store.state_lock import StateLock

_LARGEST_PORT = 65_535
_MOST_ROWS = 1_000_000
_READ_LEDGER = ("usage", "requests", "db")
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
    if command == "replay":
        return _replay(arguments)
    if command == "setup":
        from gateway.setup.command import print_setup

        return print_setup(arguments.client, _setup(arguments), as_json=arguments.json)
    if command == "statusline":
        from gateway.setup.statusline import print_statusline

        return print_statusline(arguments.url, arguments.key_file, arguments.config, os.environ)
    if command == "run":
        from gateway.setup.launch import launch

        return launch(arguments.agent, arguments.rest, _setup(arguments))
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
        return _doctor(config, arguments)
    if command in _READ_LEDGER:
        return _read_ledger(config, arguments)
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


def _setup(arguments: argparse.Namespace) -> SetupArguments:
    from gateway.setup.arguments import SetupArguments

    return SetupArguments(
        config=arguments.config,
        url=arguments.url,
        model=arguments.model,
        key_file=arguments.key_file,
        lean=arguments.lean,
    )


def _replay(arguments: argparse.Namespace) -> int:
    from gateway.replay.command import run

    try:
        status = run(arguments.file, arguments.form)
        sys.stdout.flush()
    except BrokenPipeError:  # `replay | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


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
    doctor = commands.add_parser(
        "doctor", help="run checks that need a login at Fitten; no gateway may run meanwhile"
    )
    for command in (serve, check, doctor):
        _add_config_option(command)
    for command in (serve, check):
        command.add_argument("--host", help="address to listen on instead of server.host")
        command.add_argument("--port", type=_port, help="port to listen on instead of server.port")
    check.add_argument("--quiet", action="store_true", help="print mistakes only")
    check.add_argument(
        "--without-secrets",
        action="store_true",
        help="do not read the secrets of ${credential:NAME} and ${file:PATH}",
    )
    _add_doctor_options(doctor)
    demo = commands.add_parser("demo", help="run the gateway with the bundled Fitten emulator")
    demo.add_argument(
        "--port", type=_port, default=5000, help="port to listen on; 5000 unless given"
    )
    setup = commands.add_parser(
        "setup", help="print the settings of a client, such as codex; the list without a name"
    )
    setup.add_argument("client", metavar="CLIENT", nargs="?", help="the name of the client")
    setup.add_argument("--json", action="store_true", help="print JSON")
    run = commands.add_parser(
        "run",
        help="start a coding agent that uses the gateway; no file of yours is changed",
        usage="%(prog)s [options] {claude,codex,opencode,qwen} [-- ARGUMENT ...]",
    )
    run.add_argument(
        "agent",
        choices=("claude", "codex", "opencode", "qwen"),
        help="the program; what follows -- is passed on to it",
    )
    statusline = commands.add_parser(
        "statusline", help="print what is left of a key's limits, for the status line of an agent"
    )
    _add_target_options(setup, run, statusline)
    _add_model_options(setup, run)
    replay = commands.add_parser(
        "replay", help="read an answer again that the flight recorder kept; exit 0, 1 or 2"
    )
    replay.add_argument("file", metavar="FILE", type=Path, help="the file of the record")
    forms = replay.add_mutually_exclusive_group()
    for form, what in (("json", "print JSON"), ("test", "print a test case for pytest")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=what)
    replay.set_defaults(form="text")
    _add_ledger_commands(commands)
    commands.add_parser("version", help="print the version")
    return parser


def _add_config_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        metavar="PATH",
        default=_default_config(),
        type=Path,
        help="the configuration file; unless given, config.local.yaml if there is one, "
        "else config.yaml",
    )


def _add_ledger_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    usage = commands.add_parser("usage", help="print who used how much")
    requests = commands.add_parser("requests", help="print the last requests, newest first")
    store = commands.add_parser("db", help="show, migrate, copy or check the ledger's database")
    usage.add_argument(
        "--by",
        metavar="NAMES",
        default="key",
        help="key, team, model, day, route, or several such as day,model; key unless given",
    )
    for command in (usage, requests):
        for end in ("since", "until"):
            command.add_argument(
                f"--{end}", metavar="TIME", help="an age such as 12h or 7d, or a day: 2026-01-31"
            )
        for name in ("key", "team", "model", "route"):
            command.add_argument(f"--{name}", metavar="NAME", help=f"of this {name} only")
    requests.add_argument("--failed", action="store_true", help="only those that did not complete")
    requests.add_argument(
        "--limit", metavar="N", type=_count, default=100, help="at most so many; 100 unless given"
    )
    store.add_argument("action", choices=("status", "migrate", "backup", "verify"))
    store.add_argument("--to", metavar="FILE", type=Path, help="the file that backup writes")
    for command in (usage, requests, store):
        _add_config_option(command)
        command.add_argument("--json", action="store_true", help="print JSON")
        # The secrets are the service's, and nothing here needs them.
        command.set_defaults(host=None, port=None, without_secrets=True)


def _add_doctor_options(doctor: argparse.ArgumentParser) -> None:
    doctor.set_defaults(host=None, port=None)
    doctor.add_argument(
        "--tools",
        action="store_true",
        help="send about 20 chats per notation of tool calls; say which fits the model best",
    )
    doctor.add_argument("--model", metavar="NAME", help="the model; Fitten's default unless given")
    doctor.add_argument(
        "--notation",
        metavar="NAME",
        action="append",
        default=[],
        help="measure this notation only; may be repeated",
    )
    doctor.add_argument("--json", action="store_true", help="print the result as JSON")
    doctor.add_argument("--yes", action="store_true", help="do not ask before chats are sent")


def _add_model_options(*commands: argparse.ArgumentParser) -> None:
    for command in commands:
        command.add_argument("--model", metavar="NAME", help="the model; fitten-code unless given")
        command.add_argument(
            "--lean", action="store_true", help="leave out the tools that cost most"
        )


def _add_target_options(*commands: argparse.ArgumentParser) -> None:
    for command in commands:
        command.add_argument(
            "--url",
            metavar="URL",
            help="the gateway's address; unless given, that of server in the configuration",
        )
        command.add_argument(
            "--key-file",
            metavar="PATH",
            type=Path,
            help="the file of the key; unless given, the variable FITTEN_GATEWAY_KEY",
        )
        command.add_argument(
            "--config",
            metavar="PATH",
            default=_default_config(),
            type=Path,
            help="the configuration of the gateway on this machine, for its address",
        )


def _default_config() -> Path:
    """Return the file of this machine alone, which is not under version control, if it exists."""
    local = Path("config.local.yaml")
    return local if local.exists() else Path("config.yaml")


def _port(text: str) -> int:
    """Return the port that is written on the command line."""
    try:
        port = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expected a port, such as 5000") from None
    if not 0 <= port <= _LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is no port; allowed: 0 to {_LARGEST_PORT}")
    return port


def _count(text: str) -> int:
    """Return the number of rows that is written on the command line."""
    if not text.isdecimal() or not 0 < int(text) <= _MOST_ROWS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {_MOST_ROWS}")
    return int(text)


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
    from gateway.ledger.command import store_fault

    return store_fault(config.store.file)


def _doctor(config: Config, arguments: argparse.Namespace) -> int:
    from gateway.doctor.command import DoctorOptions, check_tools

    options = DoctorOptions(
        model=arguments.model,
        notations=tuple(arguments.notation),
        as_json=arguments.json,
        confirmed=arguments.yes,
    )
    return check_tools(config, options)


def _read_ledger(config: Config, arguments: argparse.Namespace) -> int:
    from gateway.ledger import command

    file, day_of = config.store_file, command.days_in(config.time_zone)
    if arguments.command == "db":
        action, target = arguments.action, arguments.to
        return command.manage_store(file, action, target=target, as_json=arguments.json)
    names = ("since", "until", "key", "team", "model", "route")
    chosen = {name: getattr(arguments, name) for name in names}
    if arguments.command == "usage":
        by = tuple(arguments.by.split(","))
        options = command.LedgerOptions(**chosen, by=by, as_json=arguments.json)
        return command.show_usage(file, options, day_of=day_of)
    options = command.LedgerOptions(
        **chosen, failed=arguments.failed, limit=arguments.limit, as_json=arguments.json
    )
    return command.show_requests(file, options, day_of=day_of)


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
