"""Sends the request of a chat, with the accounts that the failover chooses."""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec

from gateway.accounts.interface import AccountPool, Lease
from gateway.accounts.prompt_digest import PromptDigest
from gateway.fitten.auth.reauthenticate import TokenSource
from gateway.fitten.client import FittenClient
from gateway.fitten.deadline import Deadline
from gateway.fitten.failover import Failover
from gateway.fitten.http.response_body import ResponseBody
from gateway.generation.model import Model
from gateway.generation.request import Generation
from gateway.store.token_file import Tokens


class ChatOpener:
    """Opens chats.

    pool: its budget must allow that a request is sent again on a new connection. A reload may
        give the pool another budget.
    digest_key: the key of the digests of prompts.
    """

    def __init__(
        self,
        client: FittenClient,
        failover: Failover,
        pool: AccountPool[TokenSource],
        digest_key: bytes,
    ) -> None:
        self._digest_key = digest_key
        self._client = client
        self._failover = failover
        self._pool = pool

    def open(
        self, prompt: str, generation: Generation, deadline: Deadline
    ) -> Awaitable[tuple[ResponseBody, Lease[TokenSource]]]:
        """Return the response to a prompt and the lease of its slot; see `Failover.open`."""

        def chat(tokens: Tokens) -> Awaitable[ResponseBody]:
            return self._client.chat(
                tokens.user_id,
                tokens.access_token,
                _encode_body(prompt, tokens.user_id, generation.model),
                may_repeat=self._pool.budget.spend,
            )

        digest = PromptDigest(prompt, self._digest_key)
        return self._failover.open(chat, digest, generation, deadline)


def _encode_body(prompt: str, user_id: str, model: Model) -> bytes:
    """Return the body of a chat (protocol 4.2); its section says how the model is named (5)."""
    meta: dict[str, str] = {"project_id": ""}
    if model.selection_name is not None:
        meta["model" if model.section == "chat" else "agentModel"] = model.selection_name
    return msgspec.json.encode({"inputs": prompt, "ft_token": user_id, "meta_datas": meta})
