"""Describes libraries: the official SDKs, LangChain and Ollama's clients."""

from __future__ import annotations

import json

from gateway.setup.client import SetupClient
from gateway.setup.snippet import Language, Snippet, code_snippet, shell_snippet
from gateway.setup.target import KEY_VARIABLE, SetupTarget

_PYTHON_KEY = f'os.environ["{KEY_VARIABLE}"]'
_NODE_KEY = f"process.env.{KEY_VARIABLE}"
_PYTHON, _TYPESCRIPT = "In a Python program", "In a TypeScript program"
_HELLO = '[{"role": "user", "content": "Hello!"}]'
_HELLO_TS = '[{ role: "user", content: "Hello!" }]'


def _code(place: str, language: Language, text: str, target: SetupTarget, url: str) -> Snippet:
    """Fill in a program. A string of JSON is one of Python and of TypeScript too."""
    for name, value in (("URL", url), ("MODEL", target.model)):
        text = text.replace(f"<{name}>", json.dumps(value, ensure_ascii=False))
    return code_snippet(place, language, text)


def _openai(target: SetupTarget) -> tuple[Snippet, ...]:
    python = f"""\
import os

from openai import OpenAI

client = OpenAI(base_url=<URL>, api_key={_PYTHON_KEY})
answer = client.chat.completions.create(
    model=<MODEL>, messages={_HELLO}
)
print(answer.choices[0].message.content)
"""
    typescript = f"""\
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: <URL>, apiKey: {_NODE_KEY} }});
const answer = await client.chat.completions.create({{ model: <MODEL>, messages: {_HELLO_TS} }});
console.log(answer.choices[0].message.content);
"""
    return (
        _code(_PYTHON, "python", python, target, target.api),
        _code(_TYPESCRIPT, "typescript", typescript, target, target.api),
    )


def _anthropic(target: SetupTarget) -> tuple[Snippet, ...]:
    python = f"""\
import os

from anthropic import Anthropic

client = Anthropic(base_url=<URL>, api_key={_PYTHON_KEY})
answer = client.messages.create(
    model=<MODEL>, max_tokens=4096, messages={_HELLO}
)
print(answer.content[0].text)
"""
    typescript = f"""\
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({{ baseURL: <URL>, apiKey: {_NODE_KEY} }});
const answer = await client.messages.create({{
  model: <MODEL>,
  max_tokens: 4096,
  messages: {_HELLO_TS},
}});
console.log(answer.content);
"""
    return (
        _code(_PYTHON, "python", python, target, target.url),
        _code(_TYPESCRIPT, "typescript", typescript, target, target.url),
    )


def _langchain(target: SetupTarget) -> tuple[Snippet, ...]:
    python = f"""\
import os

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    base_url=<URL>,
    api_key={_PYTHON_KEY},
    model=<MODEL>,
)
print(model.invoke("Hello!").content)
"""
    return (_code(_PYTHON, "python", python, target, target.api),)


def _ollama(target: SetupTarget) -> tuple[Snippet, ...]:
    python = f"""\
import os

from ollama import Client

key = {_PYTHON_KEY}
client = Client(host=<URL>, headers={{"Authorization": f"Bearer {{key}}"}})
answer = client.chat(model=<MODEL>, messages={_HELLO})
print(answer.message.content)
"""
    typescript = f"""\
import {{ Ollama }} from "ollama";

const headers = {{ Authorization: `Bearer ${{{_NODE_KEY}}}` }};
const client = new Ollama({{ host: <URL>, headers }});
const answer = await client.chat({{ model: <MODEL>, messages: {_HELLO_TS} }});
console.log(answer.message.content);
"""
    shell = shell_snippet(
        "In the shell, for other programs",
        {"OLLAMA_HOST": target.url, "OLLAMA_API_KEY": target.shell_key},
        key=target.shell_key,
    )
    return (
        _code(_PYTHON, "python", python, target, target.url),
        _code(_TYPESCRIPT, "typescript", typescript, target, target.url),
        shell,
    )


PROGRAMS = (
    SetupClient(
        "openai-sdk",
        "OpenAI's SDKs",
        _openai,
        ("/v1/chat/completions",),
        notes="Programs and agents that use the official SDK work in the same way.",
        reads_variable=True,
    ),
    SetupClient(
        "anthropic-sdk",
        "Anthropic's SDKs",
        _anthropic,
        ("/v1/messages",),
        notes="The base URL has no `/v1`.",
        reads_variable=True,
    ),
    SetupClient(
        "langchain", "LangChain", _langchain, ("/v1/chat/completions",), reads_variable=True
    ),
    SetupClient(
        "ollama",
        "Ollama's clients",
        _ollama,
        ("/api/chat",),
        notes="""\
Not every program that reads `OLLAMA_HOST` sends `OLLAMA_API_KEY`. The address may also hold the
key, as `http://any:YOUR_KEY@localhost:5000`.""",
        reads_variable=True,
    ),
)
"""Libraries."""
