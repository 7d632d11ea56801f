"""Runs the command "run": checks the gateway, then becomes a coding agent that uses it.

No file of the user's is changed: settings are variables, options, or a temporary file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.setup.agents import (
    claude_settings,
    claude_variables,
    codex_settings,
    opencode_settings,
    qwen_settings,
)
from gateway.setup.arguments import ArgumentError, SetupArguments, checked_target
from gateway.setup.probe import ProbeError
from gateway.setup.snippet import toml_assignments
from gateway.setup.target import KEY_VARIABLE, SetupTarget, is_loopback

_USAGE_ERROR = 2


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Says how a program is started.

    options: go before those of the user. variables: are set. removed: are not passed on.
    """

    options: Sequence[str] = ()
    variables: dict[str, str] = field(default_factory=dict)
    removed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LaunchedAgent:
    """Describes an agent that the command starts.

    plan: returns how, for a target and a key. package: what npm installs it from.
    """

    program: str
    package: str
    plan: Callable[[SetupTarget, str], LaunchPlan]
    has_lean: bool = False


def _claude(target: SetupTarget, key: str) -> LaunchPlan:
    """Return the plan for Claude Code.

    The key is in no option, where other users of the machine could see it. A file of the key is
    named in the settings, which sub-processes without an environment read too.
    """
    variables = claude_variables(target)
    if target.key_file is None:
        variables["ANTHROPIC_AUTH_TOKEN"] = key
    return LaunchPlan(
        options=("--settings", json.dumps(claude_settings(target))),
        variables=variables,
        removed=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK"),
    )


def _codex(target: SetupTarget, key: str) -> LaunchPlan:
    options = [word for line in toml_assignments(codex_settings(target)) for word in ("-c", line)]
    return LaunchPlan(options=options, variables={KEY_VARIABLE: key})


def _opencode(target: SetupTarget, key: str) -> LaunchPlan:
    content = json.dumps(opencode_settings(target))
    return LaunchPlan(variables={"OPENCODE_CONFIG_CONTENT": content, KEY_VARIABLE: key})


def _qwen(target: SetupTarget, key: str) -> LaunchPlan:
    """Return the plan for Qwen Code, which reads its settings from files only."""
    return LaunchPlan(
        variables={
            "QWEN_CODE_SYSTEM_SETTINGS_PATH": str(_settings_file(qwen_settings(target))),
            KEY_VARIABLE: key,
        }
    )


def _settings_file(settings: Mapping[str, Any]) -> Path:
    """Write settings without a key to a temporary file of this user, and return it.

    The program needs it until it ends, so nothing here can remove it. The same settings have the
    same file. Raises OSError.
    """
    text = json.dumps(settings, indent=2)
    folder = Path(tempfile.gettempdir(), f"fitten-gateway-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        folder = Path(tempfile.mkdtemp(prefix="fitten-gateway-"))  # somebody else has made that one
    file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    partial = folder / f"{file.name}.{os.getpid()}"
    partial.write_text(text, "utf-8")
    partial.replace(file)
    return file


LAUNCHED: dict[str, LaunchedAgent] = {
    "claude": LaunchedAgent("claude", "@anthropic-ai/claude-code", _claude, has_lean=True),
    "codex": LaunchedAgent("codex", "@openai/codex", _codex, has_lean=True),
    "opencode": LaunchedAgent("opencode", "opencode-ai", _opencode),
    "qwen": LaunchedAgent("qwen", "@qwen-code/qwen-code", _qwen),
}
"""By the name that the command takes."""


def launch(name: str, arguments: Sequence[str], given: SetupArguments) -> int:
    """Start an agent in place of this process; return an exit status if that cannot be done."""
    agent = LAUNCHED[name]
    try:
        if given.lean and not agent.has_lean:
            raise ArgumentError(f"--lean: there is nothing to leave out of {name}")
        program = shutil.which(agent.program)
        if program is None:
            raise ArgumentError(
                f"there is no program {agent.program}; install it: npm install -g {agent.package}"
            )
        target, key = checked_target(given, os.environ)
    except ArgumentError as error:
        print(f"run: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except ProbeError as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    try:
        # A gateway without keys takes any; the clients insist on one.
        plan = agent.plan(target, key or "none")
    except OSError as error:
        print(f"run: no temporary file can be written: {error.strerror}", file=sys.stderr)
        return 1
    print(
        f"{name} uses {target.model} at {target.url}, with a context of {target.window} tokens.",
        file=sys.stderr,
        flush=True,
    )
    try:
        os.execve(program, [program, *plan.options, *arguments], _environment(plan, target.url))
    except OSError as error:
        print(f"run: {program} cannot be started: {error.strerror}", file=sys.stderr)
    return 1


def _environment(plan: LaunchPlan, url: str) -> dict[str, str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in plan.removed
    } | plan.variables
    if is_loopback(url):
        # A proxy of the environment does not reach this machine.
        host = urlsplit(url).hostname or ""
        for name in ("NO_PROXY", "no_proxy"):
            environment[name] = ",".join(filter(None, (environment.get(name), host)))
    return environment
