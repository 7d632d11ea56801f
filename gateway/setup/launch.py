"""Runs the command "run": checks the gateway, then becomes a coding agent that uses it.

No file of the user's is changed: all settings are variables and options of the program.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gateway.setup.agents import (
    claude_settings,
    claude_variables,
    codex_settings,
    opencode_settings,
    qwen_variables,
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
    return LaunchPlan(
        options=("--auth-type", "openai", "--model", target.model),
        variables=qwen_variables(target, key),
    )


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
    # A gateway without keys takes any; the clients insist on one.
    plan = agent.plan(target, key or "none")
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
