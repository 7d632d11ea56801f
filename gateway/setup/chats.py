"""Describes programs to chat with."""

from __future__ import annotations

from gateway.setup.client import SetupClient
from gateway.setup.snippet import Snippet, shell_snippet, yaml_snippet
from gateway.setup.target import KEY_VARIABLE, SetupTarget

_CHAT = ("/v1/chat/completions",)


def _llm(target: SetupTarget) -> tuple[Snippet, ...]:
    model = {
        "model_id": "fitten",
        "model_name": target.model,
        "api_base": target.api,
        "api_key_name": "fitten",
        "supports_tools": True,
        "supports_schema": True,
        "vision": True,
    }
    return (
        yaml_snippet("`extra-openai-models.yaml` in the folder of `llm logs path`", [model]),
        shell_snippet(
            "In the shell",
            {},
            f"llm keys set fitten --value {target.shell_key}",
            "llm -m fitten 'Hello!'",
        ),
    )


def _open_webui(target: SetupTarget) -> tuple[Snippet, ...]:
    variables = {
        "OPENAI_API_BASE_URL": target.api,
        "OPENAI_API_KEY": target.shell_key,
        "DEFAULT_MODELS": target.model,
    }
    return (shell_snippet("In its environment", variables, key=target.shell_key),)


def _librechat(target: SetupTarget) -> tuple[Snippet, ...]:
    endpoint = {
        "name": "Fitten",
        "apiKey": f"${{{KEY_VARIABLE}}}",
        "baseURL": target.api,
        "models": {"default": [target.model], "fetch": True},
        "titleConvo": True,
        "titleModel": target.model,
        "tokenConfig": {
            target.model: {"prompt": 0, "completion": 0, "context": target.window},
        },
    }
    settings = {"version": "1.2.1", "endpoints": {"custom": [endpoint]}}
    return (yaml_snippet("`librechat.yaml`", settings),)


def _cherry_studio(target: SetupTarget) -> tuple[Snippet, ...]:
    fields = {"API address": target.url, "API key": target.literal_key, "Model": target.model}
    return (yaml_snippet("Settings, Model provider, a new one of type OpenAI", fields),)


def _chatbox(target: SetupTarget) -> tuple[Snippet, ...]:
    fields = {
        "API host": target.url,
        "API path": "/v1/chat/completions",
        "API key": target.literal_key,
        "Model": target.model,
    }
    return (yaml_snippet("Settings, a new provider compatible with OpenAI's API", fields),)


CHATS = (
    SetupClient("llm", "llm", _llm, _CHAT),
    SetupClient(
        "open-webui",
        "Open WebUI",
        _open_webui,
        _CHAT,
        also_calls="`GET /v1/models`",
        notes="""\
It uses these variables at its first start and then keeps the values in its database; later
changes are made in its settings. In a container, `localhost` is the container itself: use the
address of the gateway's machine.""",
    ),
    SetupClient(
        "librechat",
        "LibreChat",
        _librechat,
        _CHAT,
        also_calls="`GET /v1/models`",
        notes=f"""\
`{KEY_VARIABLE}` belongs into its file `.env`. In a container, `localhost` is the container
itself: use the address of the gateway's machine.""",
        reads_variable=True,
    ),
    SetupClient(
        "cherry-studio",
        "Cherry Studio",
        _cherry_studio,
        _CHAT,
        notes="It appends `/v1/chat/completions` to the address.",
    ),
    SetupClient("chatbox", "Chatbox", _chatbox, _CHAT, notes="The path is the default."),
)
"""Programs to chat with."""
