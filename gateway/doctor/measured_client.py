"""Counts the characters of chats: of their prompts, and of what the model writes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.errors import GatewayError
from gateway.fitten.chat.decoder import AnswerDecoder
from gateway.fitten.client import FittenClient
from gateway.fitten.http.response_body import ResponseBody
from gateway.generation.pieces import Piece


class _PromptBody(msgspec.Struct):
    inputs: str


class MeasuredChat:
    """Holds one chat: the characters of its prompt, and the bytes of its answer so far."""

    def __init__(self, characters_in: int) -> None:
        self.characters_in = characters_in
        self.received = bytearray()

    @property
    def characters_out(self) -> int:
        """Return how many characters the model wrote, with its thoughts and its notation."""
        decoder = AnswerDecoder()
        pieces = decoder.feed(bytes(self.received)) + _rest(decoder)
        pieces += decoder.finish(whole=True) + _rest(decoder)
        return sum(len(text) for _, text in pieces)


def _rest(decoder: AnswerDecoder) -> list[Piece]:
    """Return the pieces of a long line that the decoder has not returned yet."""
    pieces: list[Piece] = []
    while decoder.has_parts:
        pieces += decoder.next_part()
    return pieces


class MeasuredClient(FittenClient):
    """Makes the calls of `FittenClient`; `chats` has every chat that was answered."""

    chats: list[MeasuredChat]

    async def chat(
        self,
        user_id: str,
        access_token: str,
        body: bytes,
        *,
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> ResponseBody:
        """See `FittenClient`."""
        response = await super().chat(user_id, access_token, body, may_repeat=may_repeat)
        chat = MeasuredChat(len(msgspec.json.decode(body, type=_PromptBody).inputs))
        self.chats.append(chat)
        return _MeasuredBody(response, chat.received)


class _MeasuredBody:
    """Passes on a body, and keeps what was received; a `ResponseBody`."""

    def __init__(self, body: ResponseBody, received: bytearray) -> None:
        self._body = body
        self._received = received

    @property
    def take(self) -> Callable[[bytes], None] | None:
        return self._body.take

    @take.setter
    def take(self, take: Callable[[bytes], None] | None) -> None:
        if take is None:
            self._body.take = None
            return

        def keep(data: bytes) -> None:
            self._received.extend(data)
            take(data)

        self._body.take = keep

    @property
    def status(self) -> int:
        return self._body.status

    @property
    def framed(self) -> bool:
        return self._body.framed

    def header(self, name: str) -> str:
        return self._body.header(name)

    def at_end(self) -> bool:
        return self._body.at_end()

    async def read(self) -> bytes:
        data = await self._body.read()
        self._received.extend(data)
        return data

    def fail(self, error: GatewayError) -> None:
        self._body.fail(error)

    def wake(self) -> None:
        self._body.wake()

    def close(self) -> None:
        self._body.close()
