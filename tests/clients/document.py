"""Writes docs/clients.md from the clients of `gateway.setup`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gateway.setup.arguments import estimated_window
from gateway.setup.client import SetupClient
from gateway.setup.clients import CLIENTS
from gateway.setup.snippet import Snippet
from gateway.setup.target import SetupTarget

HERE = Path(__file__).parent
TARGET = SetupTarget(window=estimated_window())
PUBLIC_URL = "https://gateway.example.org"

# The tests that run a client itself, and the names with which its recorded requests begin.
RUN = {
    "claude-code": "agents/claude_code.py",
    "codex": "agents/codex.py",
    "opencode": "agents/opencode.py",
    "cline": "agents/cline.py",
    "kilo-code": "agents/kilo.py",
    "aider": "agents/aider.py",
    "continue": "agents/continue_cn.py",
    "qwen-code": "agents/qwen_code.py",
    "llm": "agents/llm.py",
    "ollama": "ollama_sdk/test_ollama.py",
    "langchain": "frameworks/langchain_models.py",
    "openai-sdk": "sdk/test_sdk_chat.py",
    "anthropic-sdk": "anthropic_sdk/test_messages.py",
}
REPLAYED = {
    "llama-vscode": "llama_vscode_",
    "proxyai": "proxyai_",
    "roo-code": "roo_code_",
    "twinny": "twinny_",
    "zed": "zed_",
}

_INTRODUCTION = """\
# Clients: what to put where

`fitten-gateway setup CLIENT` prints these settings with your address, and `fitten-gateway setup`
lists the clients. **This page is generated from the same source** (`gateway/setup/`). In a
repository, write `.venv/bin/python -m gateway` in place of `fitten-gateway`.

- The gateway is at `http://localhost:5000` here; use your own address instead (`--url`).
- `$FITTEN_GATEWAY_KEY` is an environment variable with your key of the gateway, never the password
  of a Fitten account. `YOUR_KEY` stands for the same key where a client cannot read variables.
  The command prints a key only if you name its file (`--key-file`).
- `fitten-code` is Fitten's default model; `GET /v1/models` lists the others (`--model`).
- Most clients append `/chat/completions` to a base URL that ends in `/v1`. Where a client needs the
  whole URL, the whole URL is given below. A client that is not listed needs the base URL
  `http://localhost:5000/v1`, a key and a model.

| Client | Name | How it was checked |
|---|---|---|
"""
_RUN = """
*Run in tests*: the unmodified program, with these settings, before the gateway. *Request replayed*:
requests that it was seen to send are among the tests. *By its documents*: neither.

## Start an agent

`fitten-gateway run` starts Claude Code, Codex, opencode or Qwen Code with these settings. It
changes no file of yours. Before that, it checks the address, the key and the model. The size of
the context comes from the gateway. What follows `--` is passed on to the program:

```shell
export FITTEN_GATEWAY_KEY=YOUR_KEY
fitten-gateway run claude
fitten-gateway run codex --lean -- exec 'Explain this repository.'
fitten-gateway run opencode --url https://gateway.example.org
fitten-gateway run qwen --key-file ~/.config/fitten-key
```

`--lean` leaves out tools that take much of each request and that few conversations need. With
`--key-file`, sub-processes of Claude Code that get no environment find the key as well.

## The size of the context

Fitten takes 307,200 characters. Agents must know that in tokens, so that they sum up a
conversation in time. Claude Code believes 200,000 tokens of a model that it does not know, Codex
272,000, and opencode never sums up. `GET /v1/models` has the number as `context_length` and under
other names. It is {window} for a text in English or code at four characters per token, and
changes with what Fitten's answers show. 8 % of the limit are kept free for the request that sums
up ([decision](decisions/compaction.md)). The settings below have the number, where a client has
one for it.

Claude Code sums up by itself only with both `CLAUDE_CODE_MAX_CONTEXT_TOKENS` and
`CLAUDE_CODE_AUTO_COMPACT_WINDOW`. The second one takes no less than 100,000, and the smaller number
counts. Neither has an effect for a name that begins with `claude-`, so `setup` refuses such names.
Claude Code keeps room for the longest answer and 13,000 tokens more: it sums up at {claude} tokens
with these settings.

When the context is full, the gateway answers 400 with `context_length_exceeded`, with both numbers
in tokens. On Anthropic's route the words are `prompt is too long: N tokens > M maximum`.
"""


def checked(client: SetupClient) -> str:
    """Return how a client was checked, in the words of the page."""
    if client.name in RUN:
        return "run in tests"
    return "request replayed" if client.name in REPLAYED else "by its documents"


def target_for(client: SetupClient, *, lean: bool = False) -> SetupTarget:
    """Return the target of the page."""
    url = PUBLIC_URL if client.needs_public_url else TARGET.url
    return replace(TARGET, url=url, lean=lean)


def document() -> str:
    """Return the text of docs/clients.md."""
    rows = "".join(
        f"| [{client.title}](#{_anchor(client.title)}) | `{client.name}` | {checked(client)} |\n"
        for client in CLIENTS.values()
    )
    general = _RUN.format(window=TARGET.window, claude=f"{TARGET.window - 8192 - 13_000:,}")
    return _INTRODUCTION + rows + general + "".join(map(_section, CLIENTS.values()))


def _anchor(title: str) -> str:
    """Return a heading's anchor, as GitHub makes it."""
    kept = "".join(sign for sign in title.lower() if sign.isalnum() or sign in " -_")
    return kept.replace(" ", "-")


def _section(client: SetupClient) -> str:
    return "\n".join(["", f"## {client.title}", "", *_lines(client)])


def _lines(client: SetupClient) -> Iterator[str]:
    usual = client.snippets(target_for(client))
    yield f"{checked(client).capitalize()}."
    yield ""
    for snippet in usual:
        yield from _fenced(snippet)
    if client.notes:
        yield from (client.notes, "")
    if client.lean_notes:
        yield from (client.lean_notes, "")
        for snippet in client.snippets(target_for(client, lean=True)):
            if snippet not in usual:
                yield from _fenced(snippet)
    others = f", besides {client.also_calls}" if client.also_calls else ""
    yield f"Calls{others}:"
    yield ""
    for path in client.calls:
        yield f"- `POST {target_for(client).url}{path}`"
    yield ""


def _fenced(snippet: Snippet) -> Iterator[str]:
    yield f"{snippet.place}:"
    yield ""
    yield f"```{snippet.language}\n{snippet.text}```"
    yield ""
