"""A worker's applications: one for each configuration that the parent has had it prepare."""

from __future__ import annotations

import asyncio
import pickle

import structlog

from gateway.app import CONFIG, build_app, hand_over
from gateway.config.settings import Config, ConfigError
from gateway.observability import logging as log
from gateway.observability.redaction import Redactor
from gateway.server.entrypoint import Entrypoint, RunningApp
from gateway.workers.rpc.client import RpcClient
from gateway.workers.rpc.messages import (
    AccountsState,
    ModelsChanged,
    RevisionDrained,
    RevisionReady,
    RevisionServing,
)
from gateway.workers.services.remote_state import RemoteNewestCompletions, RemoteState

_log = structlog.get_logger("workers")


class Revisions:
    """Prepares applications, and puts them behind the door.

    number: the worker's, for the log.
    """

    def __init__(self, door: Entrypoint, asking: RpcClient) -> None:
        self._door = door
        self._asking = asking
        self.number = 0
        self.turns = RemoteNewestCompletions(
            asking
        )  # one for all: a reload does not make files anew
        self.drain_timeout = 0.0  # seconds, of the settings of the hour
        self._remotes: dict[int, RemoteState] = {}
        self._prepared: dict[int, RunningApp] = {}
        self._current = 0
        self._redactor = Redactor()
        self._outputs: log.LogOutputs | None = None

    def told(self, message: AccountsState | ModelsChanged) -> None:
        """The parent has told how its accounts are."""
        self._remote(message.shift).told(message)

    async def prepare(self, shift: int, settings: bytes) -> None:
        """Start an application that takes no requests yet, and say `RevisionReady`."""
        try:
            config: Config = pickle.loads(settings)
            for secret in config.secrets():
                self._redactor.add(secret)
            if self._outputs is None:
                self._adopt(config)
            remote = self._remote(shift)
            app = build_app(config, self._door.lifecycle, remote, on_secret=self._redactor.add)
            self._prepared[shift] = await self._door.start(app)
        except OSError as error:
            await self._cannot(shift, error.strerror or str(error))
        except ConfigError as error:
            _log.error("worker_not_ready", mistakes=error.mistakes)
            await self._cannot(shift, "a step cannot be built; the log has more")
        except Exception as error:  # steps of others are started here
            _log.error("worker_not_ready", exc_info=error)
            await self._cannot(shift, f"{type(error).__name__}; the log has more")
        else:
            self._asking.tell(RevisionReady(shift, ""))

    async def _cannot(self, shift: int, why: str) -> None:
        if self._outputs is not None:  # the parent may end this process at once
            await asyncio.to_thread(self._outputs.flush)
        self._asking.tell(RevisionReady(shift, why))

    def serve(self, shift: int) -> None:
        """Requests that come from now on are this application's; a second time changes nothing."""
        if shift == self._current:
            return
        behind = self._prepared.pop(shift)
        config = behind.app[CONFIG]
        former, self._current = self._current, shift
        if former:
            hand_over(self._door.app, behind.app)
            self._adopt(config)
        self._door.put(behind, on_left=lambda: self._left(former))
        self.drain_timeout = config.server.drain_timeout
        if former:
            self._door.limit(config)

    def serving(self, shift: int) -> None:
        """It does: requests come, or can."""
        self._asking.tell(RevisionServing(shift))

    async def forget(self, shift: int) -> None:
        """End an application that was not to be."""
        if behind := self._prepared.pop(shift, None):
            await behind.end()
        self._remotes.pop(shift, None)

    def reopen(self) -> None:
        """Open log files anew."""
        if self._outputs is not None:
            self._outputs.reopen()

    async def close(self) -> None:
        """End what was prepared and never served, and write the last lines of the log."""
        for shift in list(self._prepared):
            await self.forget(shift)
        if self._outputs is not None:
            await asyncio.to_thread(self._outputs.close)

    def _remote(self, shift: int) -> RemoteState:
        if shift not in self._remotes:
            self._remotes[shift] = RemoteState(self._asking, shift, self.turns)
        return self._remotes[shift]

    def _left(self, shift: int) -> None:
        self._remotes.pop(shift, None)
        self._asking.tell(RevisionDrained(shift))

    def _adopt(self, config: Config) -> None:
        """Let the log follow. Raises OSError when there is none yet."""
        labels = {"worker": self.number}
        try:
            self._outputs = log.configure_logging(
                config.log, self._redactor, outputs=self._outputs, labels=labels
            )
        except OSError as error:  # the parent could open it a moment ago
            if self._outputs is None:
                raise
            _log.error("log_not_changed", reason=error.strerror)
        self._redactor.renew(config.secrets())
