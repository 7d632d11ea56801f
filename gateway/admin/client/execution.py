"""Runs a command against a gateway, and prints what goes wrong as one line or as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from gateway.admin.client.refusal import AdminRefusal, WrongTarget
from gateway.admin.client.target import TargetOptions
from gateway.options import ConfigError
from gateway.terminal import FAILED, USAGE_ERROR, print_json, print_note, run_command


def target_of(arguments: argparse.Namespace) -> TargetOptions:
    """Return which gateway a command line names."""
    return TargetOptions(arguments.config, arguments.url, arguments.key_file)


def execute(work: Callable[[], int | None], *, as_json: bool) -> int:
    """Run a piece of work that prints; return the exit status, 0 for None.

    It is 1 if the gateway or the store refuses, and 2 for a wrong configuration or
    address.
    as_json: whether a refusal is printed as JSON, besides the line for a person.
    """

    def command() -> int:
        try:
            return work() or 0
        except AdminRefusal as error:
            print_note(str(error))
            if as_json:
                print_json({"error": _members(error)})
            return USAGE_ERROR if isinstance(error, WrongTarget) else FAILED
        except ConfigError as error:
            for mistake in error.mistakes:
                print_note(mistake)
            return USAGE_ERROR

    return run_command(command)


def _members(error: AdminRefusal) -> dict[str, str | int | None]:
    return {
        "message": str(error),
        "status": error.status or None,
        "code": error.code or None,
        "param": error.param or None,
    }
