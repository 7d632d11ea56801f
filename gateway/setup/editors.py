"""Describes extensions and assistants of editors."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from gateway.setup.client import SetupClient
from gateway.setup.snippet import Snippet, json_snippet, shell_snippet, yaml_snippet
from gateway.setup.target import KEY_VARIABLE, OUTPUT_LIMIT, SetupTarget

_CHAT = "/v1/chat/completions"
_COMPLETIONS = "/v1/completions"
_OLLAMA_NOTES = """\
This client speaks Ollama's API and sends no key. So the key is a part of the address; only a key
with `path: true` in the gateway's configuration works there. Proxies write addresses into their
logs: use such a key for nothing else."""


def _ollama_url(target: SetupTarget) -> str:
    """Return the address of Ollama's API for a client that cannot send a key."""
    key = target.literal_key if target.key is None else quote(target.key, safe="")
    return f"{target.url}/k/{key}"


def _continue(target: SetupTarget) -> tuple[Snippet, ...]:
    model = {
        "provider": "openai",
        "model": target.model,
        "apiBase": target.api,
        "apiKey": f"${{{{ secrets.{KEY_VARIABLE} }}}}",
    }
    settings = {
        "name": "Fitten",
        "version": "1.0.0",
        "schema": "v1",
        "models": [
            {
                "name": "Fitten",
                **model,
                "roles": ["chat", "edit", "apply"],
                "capabilities": ["tool_use", "image_input"],
                "defaultCompletionOptions": {
                    "contextLength": target.window,
                    "maxTokens": OUTPUT_LIMIT,
                },
            },
            {"name": "Fitten at the cursor", **model, "roles": ["autocomplete"]},
        ],
    }
    return (yaml_snippet("`~/.continue/config.yaml`", settings),)


def _zed(target: SetupTarget) -> tuple[Snippet, ...]:
    settings = {
        "language_models": {
            "openai_compatible": {
                "Fitten": {
                    "api_url": target.api,
                    "available_models": [{"name": target.model, "max_tokens": target.window}],
                }
            }
        },
        "edit_predictions": {
            "provider": "open_ai_compatible_api",
            "open_ai_compatible_api": {
                "api_url": f"{target.api}/completions",
                "model": target.model,
                "prompt_format": "qwen",
                "max_output_tokens": 128,
            },
        },
    }
    names = ("FITTEN_API_KEY", "ZED_OPEN_AI_COMPATIBLE_EDIT_PREDICTION_API_KEY")
    return (
        json_snippet("`settings.json`", settings),
        shell_snippet(
            "In the shell that starts Zed",
            dict.fromkeys(names, target.shell_key),
            key=target.shell_key,
        ),
    )


def _proxyai(target: SetupTarget) -> tuple[Snippet, ...]:
    fields = {
        "API key": target.literal_key,
        "Chat completions URL": f"{target.api}/chat/completions",
        "Chat completions body": {
            "model": target.model,
            "messages": "$OPENAI_MESSAGES",
            "stream": True,
        },
        "Code completions URL": f"{target.api}/completions",
        "Code completions body": {
            "model": target.model,
            "prompt": "$PREFIX",
            "suffix": "$SUFFIX",
            "stream": False,
        },
    }
    return (yaml_snippet("Settings, ProxyAI, Providers, Custom OpenAI", fields),)


def _jetbrains(target: SetupTarget) -> tuple[Snippet, ...]:
    fields = {"Provider": "Ollama", "URL": _ollama_url(target), "Model": target.model}
    return (yaml_snippet("Settings, Tools, AI Assistant, Providers & API keys", fields),)


def _vscode(target: SetupTarget) -> tuple[Snippet, ...]:
    model = {
        "id": target.model,
        "name": "Fitten",
        "url": f"{target.api}/chat/completions",
        "apiType": "chat-completions",
        "toolCalling": True,
        "vision": True,
        "maxInputTokens": target.window - OUTPUT_LIMIT,
        "maxOutputTokens": OUTPUT_LIMIT,
    }
    provider = {
        "name": "Fitten",
        "vendor": "customendpoint",
        "apiKey": target.literal_key,
        "models": [model],
    }
    return (json_snippet("`chatLanguageModels.json`", [provider]),)


def _twinny(target: SetupTarget) -> tuple[Snippet, ...]:
    parts = urlsplit(target.url)
    fields = {
        "Provider": "openai-compatible",
        "Protocol": parts.scheme,
        "Hostname": parts.hostname or "",
        "Port": parts.port or (443 if parts.scheme == "https" else 80),
        "Path": "/v1",
        "Model name": target.model,
        "API key": target.literal_key,
    }
    fim = {**fields, "Path": "/v1/completions", "FIM template": "codellama"}
    return (
        yaml_snippet("Manage providers, one of type `chat`", fields),
        yaml_snippet("Manage providers, one of type `fim`", fim),
    )


def _llama_vscode(target: SetupTarget) -> tuple[Snippet, ...]:
    names = ("endpoint", "endpoint_chat", "endpoint_tools")
    keys = ("api_key", "api_key_chat", "api_key_tools")
    settings = {
        **{f"llama-vscode.{name}": target.url for name in names},
        "llama-vscode.ai_api_version": "v1",
        "llama-vscode.ai_model": target.model,
        **{f"llama-vscode.{name}": target.literal_key for name in keys},
    }
    return (json_snippet("`settings.json`", settings),)


def _cursor(target: SetupTarget) -> tuple[Snippet, ...]:
    fields = {
        "OpenAI API Key": target.literal_key,
        "Override OpenAI Base URL": target.api,
        "Custom model": target.model,
    }
    return (yaml_snippet("Settings, Models, API Keys", fields),)


EDITORS = (
    SetupClient(
        "continue",
        "Continue",
        _continue,
        (_CHAT, _COMPLETIONS),
        notes=f"""\
The first model is for chats, edits and agents, the second one for completion at the cursor.
Continue looks for the key in `~/.continue/.env` as `{KEY_VARIABLE}=...`, its command `cn` also
in the environment.""",
        reads_variable=True,
    ),
    SetupClient(
        "zed",
        "Zed",
        _zed,
        (_CHAT, _COMPLETIONS),
        notes="""\
The key may also be entered in the agent's settings. Edit predictions need the whole URL and have
a variable of their own for the key.""",
    ),
    SetupClient(
        "proxyai",
        "ProxyAI",
        _proxyai,
        (_CHAT, _COMPLETIONS),
        notes="It needs whole URLs; the model is part of the body.",
    ),
    SetupClient(
        "jetbrains",
        "JetBrains AI Assistant",
        _jetbrains,
        ("/api/chat",),
        also_calls="`GET /api/tags`",
        notes=_OLLAMA_NOTES,
    ),
    SetupClient(
        "vscode",
        "VS Code's own models",
        _vscode,
        (_CHAT,),
        notes="""\
VS Code opens the file after: Chat: Manage Language Models, Add Models, Custom Endpoint. Its
provider Ollama sends no key with chats, so it works only where the gateway asks for none. Then its
address is that of the gateway, without `/v1`.""",
    ),
    SetupClient(
        "twinny",
        "twinny",
        _twinny,
        (_CHAT, _COMPLETIONS),
        notes="twinny takes the parts of the address separately, and the whole path at the cursor.",
    ),
    SetupClient(
        "llama-vscode",
        "llama.vscode",
        _llama_vscode,
        (_CHAT, "/infill"),
        notes="The addresses have no `/v1`.",
    ),
    SetupClient(
        "cursor",
        "Cursor",
        _cursor,
        (_CHAT,),
        needs_public_url=True,
        notes="""\
Cursor's own servers send the requests, so the gateway must have a public HTTPS address. An
address of your machine or of your network cannot work. By the name of a model, Cursor may write
Responses bodies or tools in Anthropic's form to `/v1/chat/completions`. The gateway answers in
the form of the body; the name `fitten-code` keeps Cursor to plain chats.""",
    ),
)
"""What runs in editors."""
