"""Describes coding agents of the command line and of editors."""

from __future__ import annotations

import shlex
from typing import Any

from gateway.setup.client import SetupClient
from gateway.setup.snippet import (
    Snippet,
    json_snippet,
    shell_snippet,
    toml_snippet,
    yaml_snippet,
)
from gateway.setup.target import KEY_VARIABLE, OUTPUT_LIMIT, SetupTarget

# A name in `permissions.deny` takes the tool's definition out of the request. Measured with
# 2.1.197: a first request has 76,154 characters, and 35,753 without these tools.
LEAN_DENIED = (
    *("CronCreate", "CronDelete", "CronList", "EnterWorktree", "ExitWorktree", "NotebookEdit"),
    *("ReportFindings", "ScheduleWakeup", "SendMessage", "Workflow"),
)
LEAN_SAVED = 40_401  # characters of each request

# Claude Code does not sum up by itself unless this is set. It takes no less, and the smaller one
# of both windows counts.
_SMALLEST_COMPACT_WINDOW = 100_000
_CHAT = ("/v1/chat/completions",)


def claude_variables(target: SetupTarget) -> dict[str, str]:
    """Return the variables of Claude Code but for the key."""
    models = ("", "SMALL_FAST_", "DEFAULT_OPUS_", "DEFAULT_SONNET_", "DEFAULT_HAIKU_")
    switches = (
        *("DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "DISABLE_AUTOUPDATER"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    )
    return {
        "ANTHROPIC_BASE_URL": target.url,
        **{f"ANTHROPIC_{which}MODEL": target.model for which in models},
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(target.window),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(max(target.window, _SMALLEST_COMPACT_WINDOW)),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(OUTPUT_LIMIT),
        **dict.fromkeys(switches, "1"),
    }


def claude_settings(target: SetupTarget) -> dict[str, Any]:
    """Return the settings of Claude Code, for sub-processes that lose the environment too."""
    settings: dict[str, Any] = {"env": claude_variables(target)}
    if target.key_file is not None:
        settings["apiKeyHelper"] = f"cat {shlex.quote(target.key_file)}"
    if target.lean:
        settings["permissions"] = {"deny": list(LEAN_DENIED)}
    return settings


def _claude(target: SetupTarget) -> tuple[Snippet, ...]:
    settings = json_snippet("`~/.claude/settings.json`", claude_settings(target))
    if target.key_file is not None:
        return (settings,)
    url, *others = claude_variables(target).items()
    variables = dict([url, ("ANTHROPIC_AUTH_TOKEN", target.shell_key), *others])
    shell = shell_snippet("In the shell", variables, "claude", key=target.shell_key)
    return (shell, settings)


def codex_settings(target: SetupTarget) -> dict[str, Any]:
    """Return the settings of Codex, tables as mappings."""
    settings: dict[str, Any] = {
        "model": target.model,
        "model_provider": "fitten",
        "model_context_window": target.window,
        "model_auto_compact_token_limit": target.compact_at,
    }
    if target.lean:
        settings["web_search"] = "disabled"
    settings["model_providers"] = {
        "fitten": {
            "name": "Fitten",
            "base_url": target.api,
            "env_key": KEY_VARIABLE,
            "wire_api": "responses",
        }
    }
    if target.lean:
        settings["features"] = {"multi_agent": False, "goals": False}
    return settings


def _codex(target: SetupTarget) -> tuple[Snippet, ...]:
    return (toml_snippet("`~/.codex/config.toml`", codex_settings(target)),)


def opencode_settings(target: SetupTarget) -> dict[str, Any]:
    """Return the settings of opencode."""
    return {
        "$schema": "https://opencode.ai/config.json",
        "model": f"fitten/{target.model}",
        "small_model": f"fitten/{target.model}",
        "provider": {
            "fitten": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Fitten",
                "options": {"baseURL": target.api, "apiKey": f"{{env:{KEY_VARIABLE}}}"},
                "models": {target.model: _limited(target)},
            }
        },
    }


def _limited(target: SetupTarget) -> dict[str, Any]:
    return {
        "name": target.model,
        "limit": {"context": target.window, "output": OUTPUT_LIMIT},
    }


def _opencode(target: SetupTarget) -> tuple[Snippet, ...]:
    return (json_snippet("`~/.config/opencode/opencode.json`", opencode_settings(target)),)


def _kilo(target: SetupTarget) -> tuple[Snippet, ...]:
    settings = opencode_settings(target)
    del settings["$schema"], settings["small_model"]
    return (json_snippet("`~/.config/kilo/kilo.json`", settings),)


def qwen_settings(target: SetupTarget) -> dict[str, Any]:
    """Return the settings of Qwen Code."""
    model = {
        "id": target.model,
        "name": target.model,
        "baseUrl": target.api,
        "envKey": KEY_VARIABLE,
        "generationConfig": {
            "contextWindowSize": target.window,
            "samplingParams": {"max_tokens": OUTPUT_LIMIT},
        },
    }
    return {
        "modelProviders": {"openai": [model]},
        "security": {"auth": {"selectedType": "openai"}},
        "model": {"name": target.model},
    }


def _qwen(target: SetupTarget) -> tuple[Snippet, ...]:
    return (json_snippet("`~/.qwen/settings.json`", qwen_settings(target)),)


def _cline(target: SetupTarget) -> tuple[Snippet, ...]:
    fields = {
        "API Provider": "OpenAI Compatible",
        "Base URL": target.api,
        "API Key": target.literal_key,
        "Model ID": target.model,
        "Context Window Size": target.window,
    }
    command = (
        f"cline auth --provider openai-compatible --apikey {target.shell_key} "
        f"--modelid {shlex.quote(target.model)} --baseurl {shlex.quote(target.api)}"
    )
    sizes = {"contextWindow": target.window, "maxTokens": OUTPUT_LIMIT}
    return (
        yaml_snippet("Settings, API Configuration", fields),
        shell_snippet("In the shell, for the command `cline`", {}, command),
        json_snippet("`~/.cline/data/settings/providers.json`, beside `baseUrl`", sizes),
    )


def _roo(target: SetupTarget) -> tuple[Snippet, ...]:
    fields = {
        "API Provider": "OpenAI Compatible",
        "Base URL": target.api,
        "API Key": target.literal_key,
        "Model": target.model,
        "Context Window Size": target.window,
    }
    return (yaml_snippet("Settings, Providers", fields),)


def _aider(target: SetupTarget) -> tuple[Snippet, ...]:
    name = f"openai/{target.model}"
    metadata = {
        name: {"max_input_tokens": target.window, "max_output_tokens": OUTPUT_LIMIT},
    }
    return (
        shell_snippet(
            "In the shell",
            {"OPENAI_API_BASE": target.api, "OPENAI_API_KEY": target.shell_key},
            f"aider --model {shlex.quote(name)}",
            key=target.shell_key,
        ),
        json_snippet("`~/.aider.model.metadata.json`", metadata),
    )


AGENTS = (
    SetupClient(
        "claude-code",
        "Claude Code",
        _claude,
        ("/v1/messages", "/v1/messages/count_tokens"),
        also_calls="`HEAD /`",
        notes="""\
The address has no `/v1`. The variables with `SMALL` and `DEFAULT` set the models of side calls
and sub-agents. Without them Claude Code asks for models that Fitten does not have. The last four
variables keep it from calling other addresses than the gateway.

The shell is enough for Claude Code itself. Some of its sub-processes get no variables of the
shell, so the settings have all but the key once more, in the block `env`. With `--key-file` the
settings also say how to read the key, and nothing is needed in the shell.

`ANTHROPIC_API_KEY` works in place of `ANTHROPIC_AUTH_TOKEN`; set only one of them. Tools that
Anthropic runs, such as its web search, do not exist here; the model is told so. Documents and
MCP servers of the API are refused with 400. Claude Code's own MCP servers are ordinary tools and
work.

`fitten-gateway statusline` prints what is left of the key's limits, for Claude Code's status line:
see [limits.md](limits.md#what-is-left).""",
        lean_notes=f"""\
`--lean` denies the tools that take most characters and that few conversations need. The first
request then has 35,753 characters in place of 76,154: {LEAN_SAVED:,} fewer, in every request.
Tried with 2.1.197.""",
    ),
    SetupClient(
        "codex",
        "Codex",
        _codex,
        ("/v1/responses",),
        notes="""\
Codex says that it has no metadata of `fitten-code`; that is harmless. The gateway stores
nothing: Codex sends the whole conversation each time. Codex's web search runs at OpenAI only, so
the model is told that it is not available. Tried with version 0.171.0: shell commands,
`apply_patch`, images, tools of MCP servers, sub-agents and the search for tools.""",
        lean_notes="""\
`--lean` leaves out web search, sub-agents and goals. That makes requests a third shorter.""",
        reads_variable=True,
    ),
    SetupClient(
        "opencode",
        "opencode",
        _opencode,
        _CHAT,
        notes="""\
Without `limit` opencode never sums up a conversation.""",
        reads_variable=True,
    ),
    SetupClient(
        "cline",
        "Cline",
        _cline,
        _CHAT,
        notes="""\
The extension and the command `cline` have settings of their own. `cline auth` writes the file, and
the two numbers are members of `settings` in it.""",
    ),
    SetupClient(
        "roo-code",
        "Roo Code",
        _roo,
        _CHAT,
        notes="""\
If a model name contains `o1`, `o3` or `o4`, Roo Code sends its instructions with the role
`developer`. The gateway accepts that role too.""",
    ),
    SetupClient(
        "kilo-code",
        "Kilo Code",
        _kilo,
        _CHAT,
        notes="""\
The command `kilo` and the extension both read this file. In the extension's own dialog the
provider is `OpenAI Compatible`; it has no field for the size of the context.""",
        reads_variable=True,
    ),
    SetupClient(
        "qwen-code",
        "Qwen Code",
        _qwen,
        _CHAT,
        reads_variable=True,
    ),
    SetupClient(
        "aider",
        "Aider",
        _aider,
        _CHAT,
        notes="`openai/` tells Aider which API to use and is not sent.",
    ),
)
"""The coding agents."""
