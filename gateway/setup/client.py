"""Describes a client: what its settings are, and what it calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.setup.snippet import Snippet
from gateway.setup.target import SetupTarget


@dataclass(frozen=True, slots=True)
class SetupClient:
    """Describes a client for the command and for docs/clients.md.

    name: what the command takes. snippets: its settings for a target.
    calls: the paths that it posts to. also_calls: others that it uses, as Markdown.
    notes: what else there is to say, as Markdown.
    lean_notes: what `lean` leaves out; empty where the client has no such settings.
    reads_variable: whether its settings refer to the environment variable of the key.
    needs_public_url: whether another machine than the user's sends the requests.
    """

    name: str
    title: str
    snippets: Callable[[SetupTarget], tuple[Snippet, ...]]
    calls: tuple[str, ...]
    also_calls: str = ""
    notes: str = ""
    lean_notes: str = ""
    reads_variable: bool = False
    needs_public_url: bool = False
