"""Runs the command "setup": prints what a client needs, and where to put it."""

from __future__ import annotations

import json
import os
import sys

from gateway.setup.arguments import ArgumentError, SetupArguments, addressed_target, target_of
from gateway.setup.client import SetupClient
from gateway.setup.clients import CLIENTS, snippets_for
from gateway.setup.snippet import Snippet
from gateway.setup.target import is_loopback

_USAGE_ERROR = 2


def print_setup(name: str | None, given: SetupArguments, *, as_json: bool = False) -> int:
    """Print the settings of a client, or the list of clients; return the exit status."""
    if name is None:
        _print_list(as_json)
        return 0
    client = CLIENTS.get(name)
    try:
        if client is None:
            raise ArgumentError(f"there is no client {name!r}; known: {', '.join(CLIENTS)}")
        if given.lean and not client.lean_notes:
            raise ArgumentError(f"--lean: there is nothing to leave out of {client.title}")
        url = addressed_target(given).url
        if client.needs_public_url and is_loopback(url):
            raise ArgumentError(
                f"servers of {client.title} send the requests and cannot reach {url}; "
                "name the gateway's public HTTPS address by --url"
            )
        target = target_of(given, os.environ, _note)
    except ArgumentError as error:
        print(f"setup: {error}", file=sys.stderr)
        return _USAGE_ERROR
    snippets = snippets_for(client, target)
    if as_json:
        data = {
            "client": client.name,
            "url": target.url,
            "model": target.model,
            "window": target.window,
            "snippets": [
                {"place": _plain(one.place), "language": one.language, "text": one.text}
                for one in snippets
            ],
        }
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_section(one) for one in snippets), end="")
        _print_notes(client, lean=given.lean)
    return 0


def _print_list(as_json: bool) -> None:
    if as_json:
        print(json.dumps({client.name: client.title for client in CLIENTS.values()}, indent=2))
        return
    print("fitten-gateway setup CLIENT prints the settings of one of these:\n")
    for client in CLIENTS.values():
        lean = "  (also --lean)" if client.lean_notes else ""
        print(f"  {client.name:15}{client.title}{lean}")


def _section(snippet: Snippet) -> str:
    """Return a snippet under its place. Only the place has the sign, so that it is seen."""
    return f"==> {_plain(snippet.place)} <==\n{snippet.text}"


def _print_notes(client: SetupClient, *, lean: bool) -> None:
    """Print the notes where they do not get into a file that takes the output."""
    for notes in (client.notes, client.lean_notes if lean else ""):
        if notes:
            _note(f"\n{_plain(notes)}")


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")


def _note(text: str) -> None:
    print(text, file=sys.stderr)
