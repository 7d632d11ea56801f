"""Saves the tokens of an account, and tries again while the disk does not take them."""

from __future__ import annotations

import asyncio

import structlog

from gateway.store.token_file import TokenFile, Tokens

_log = structlog.get_logger("session")

_RETRY_INTERVAL = 4.0  # seconds


class TokenSaver:
    """Writes the newest tokens to their file; `close` ends the tries."""

    def __init__(self, file: TokenFile) -> None:
        self._file = file
        self._newest: Tokens | None = None
        self._saving = asyncio.Lock()
        self._retry: asyncio.Task[None] | None = None

    async def save(self, tokens: Tokens) -> None:
        """Write tokens. If that fails, it is logged once and tried again later."""
        self._newest = tokens
        try:
            await self._write()
        except OSError as error:
            if self._retry is None:
                _log.warning("token_file_not_written", reason=error.strerror)
                self._retry = asyncio.create_task(self._try_again())

    async def close(self) -> None:
        """Stop trying."""
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.gather(self._retry, return_exceptions=True)

    async def _write(self) -> None:
        async with self._saving:
            if self._newest is not None:
                await asyncio.to_thread(self._file.save, self._newest)

    async def _try_again(self) -> None:
        while True:
            await asyncio.sleep(_RETRY_INTERVAL)
            try:
                await self._write()
            except OSError:
                continue
            _log.info("token_file_written")
            self._retry = None
            return
