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

    def __init__(self, entrypoint: Entrypoint, rpc: RpcClient) -> None:
        self._entrypoint = entrypoint
        self._rpc = rpc
        self.number = 0
        self.newest_completions = RemoteNewestCompletions(
            rpc
        )  # one for all: a reload does not make files anew
        self.drain_timeout = 0.0  # seconds, of the settings of the hour
        self._remote_states: dict[int, RemoteState] = {}
        self._prepared: dict[int, RunningApp] = {}
        self._current = 0
        self._redactor = Redactor()
        self._outputs: log.LogOutputs | None = None

    def told(self, message: AccountsState | ModelsChanged) -> None:
        """The parent has told how its accounts are."""
        self._remote_state(message.revision).told(message)

    async def prepare(self, revision: int, settings: bytes) -> None:
        """Start an application that takes no requests yet, and say `RevisionReady`."""
        try:
            config: Config = pickle.loads(settings)
            for secret in config.secrets():
                self._redactor.add(secret)
            if self._outputs is None:
                self._adopt(config)
            remote_state = self._remote_state(revision)
            app = build_app(
                config, self._entrypoint.in_flight, remote_state, on_secret=self._redactor.add
            )
            self._prepared[revision] = await self._entrypoint.start_app(app)
        except OSError as error:
            await self._cannot(revision, error.strerror or str(error))
        except ConfigError as error:
            _log.error("worker_not_ready", mistakes=error.mistakes)
            await self._cannot(revision, "a step cannot be built; the log has more")
        except Exception as error:  # steps of others are started here
            _log.error("worker_not_ready", exc_info=error)
            await self._cannot(revision, f"{type(error).__name__}; the log has more")
        else:
            self._rpc.tell(RevisionReady(revision, ""))

    async def _cannot(self, revision: int, why: str) -> None:
        if self._outputs is not None:  # the parent may end this process at once
            await asyncio.to_thread(self._outputs.flush)
        self._rpc.tell(RevisionReady(revision, why))

    def serve(self, revision: int) -> None:
        """Requests that come from now on are this application's; a second time changes nothing."""
        if revision == self._current:
            return
        running_app = self._prepared.pop(revision)
        config = running_app.app[CONFIG]
        former, self._current = self._current, revision
        if former:
            hand_over(self._entrypoint.app, running_app.app)
            self._adopt(config)
        self._entrypoint.switch_to(running_app, on_drained=lambda: self._on_left(former))
        self.drain_timeout = config.server.drain_timeout
        if former:
            self._entrypoint.apply_limits(config)

    def serving(self, revision: int) -> None:
        """It does: requests come, or can."""
        self._rpc.tell(RevisionServing(revision))

    async def forget(self, revision: int) -> None:
        """End an application that was not to be."""
        if running_app := self._prepared.pop(revision, None):
            await running_app.close()
        self._remote_states.pop(revision, None)

    def reopen(self) -> None:
        """Open log files anew."""
        if self._outputs is not None:
            self._outputs.reopen()

    async def close(self) -> None:
        """End what was prepared and never served, and write the last lines of the log."""
        for revision in list(self._prepared):
            await self.forget(revision)
        if self._outputs is not None:
            await asyncio.to_thread(self._outputs.close)

    def _remote_state(self, revision: int) -> RemoteState:
        if revision not in self._remote_states:
            self._remote_states[revision] = RemoteState(
                self._rpc, revision, self.newest_completions
            )
        return self._remote_states[revision]

    def _on_left(self, revision: int) -> None:
        self._remote_states.pop(revision, None)
        self._rpc.tell(RevisionDrained(revision))

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
