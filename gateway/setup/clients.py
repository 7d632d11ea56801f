"""Lists the clients that the gateway has settings for."""

from __future__ import annotations

from gateway.setup.agents import AGENTS
from gateway.setup.chats import CHATS
from gateway.setup.client import SetupClient
from gateway.setup.editors import EDITORS
from gateway.setup.programs import PROGRAMS
from gateway.setup.snippet import Snippet, key_from_file
from gateway.setup.target import SetupTarget

CLIENTS: dict[str, SetupClient] = {
    client.name: client for client in (*AGENTS, *EDITORS, *CHATS, *PROGRAMS)
}
"""By the name that the command takes."""


def snippets_for(client: SetupClient, target: SetupTarget) -> tuple[Snippet, ...]:
    """Return all that a client needs; also how its variable gets the key from a file."""
    snippets = client.snippets(target)
    if client.reads_variable and target.key_file is not None:
        return (key_from_file(target), *snippets)
    return snippets
