"""Prepares the applications of a worker: one for each revision that the master sends."""

from __future__ import annotations

import asyncio
import pickle

import structlog

from gateway.app import CONFIG, build_app, hand_over
from gateway.config.settings import Config, ConfigError
from gateway.observability import logging as log
from gateway.redaction import Redactor, os_error_text
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
    """Prepares an application for each revision, and switches the entrypoint to it.

    number: the number of the worker, for the log.
    drain_timeout: `server.drain_timeout` of the current revision, in seconds.
    newest_completions: shared by all revisions, since a file being edited outlasts a reload.
    """

    def __init__(self, entrypoint: Entrypoint, rpc: RpcClient) -> None:
        self._entrypoint = entrypoint
        self._rpc = rpc
        self.number = 0
        self.newest_completions = RemoteNewestCompletions(rpc)
        self.drain_timeout = 0.0
        self._remote_states: dict[int, RemoteState] = {}
        self._prepared: dict[int, RunningApp] = {}
        self._current = 0
        self._redactor = Redactor()
        self._outputs: log.LogOutputs | None = None

    def update(self, message: AccountsState | ModelsChanged) -> None:
        """Pass news about the master's accounts to their revision."""
        self._remote_state(message.revision).update(message)

    async def prepare(self, revision: int, settings: bytes) -> None:
        """Start an application that gets no requests yet, and send `RevisionReady`.

        settings: a pickled `Config`.
        """
        try:
            config: Config = pickle.loads(settings)
            for secret in config.secrets():
                self._redactor.add(secret)
            if self._outputs is None:
                self._configure_log(config)
            remote_state = self._remote_state(revision)
            app = build_app(
                config, self._entrypoint.in_flight, remote_state, on_secret=self._redactor.add
            )
            self._prepared[revision] = await self._entrypoint.start_app(app)
        except OSError as error:
            await self._report_failure(revision, os_error_text(error))
        except ConfigError as error:
            _log.error("worker_not_ready", mistakes=error.mistakes)
            await self._report_failure(revision, "a middleware cannot be built; see the log")
        except Exception as error:  # a middleware may raise anything when it starts
            _log.error("worker_not_ready", exc_info=error)
            await self._report_failure(revision, f"{type(error).__name__}; see the log")
        else:
            self._rpc.send(RevisionReady(revision, ""))

    async def _report_failure(self, revision: int, reason: str) -> None:
        if self._outputs is not None:  # the master may end this process at once
            await asyncio.to_thread(self._outputs.flush)
        self._rpc.send(RevisionReady(revision, reason))

    def serve(self, revision: int) -> None:
        """Pass new requests to a prepared application; a second call changes nothing."""
        if revision == self._current:
            return
        running_app = self._prepared.pop(revision)
        config = running_app.app[CONFIG]
        former, self._current = self._current, revision
        if former:
            hand_over(self._entrypoint.app, running_app.app)
            self._configure_log(config)
        self._entrypoint.switch_to(running_app, on_drained=lambda: self._on_drained(former))
        self.drain_timeout = config.server.drain_timeout
        if former:
            self._entrypoint.apply_limits(config)

    def report_serving(self, revision: int) -> None:
        """Send `RevisionServing`: the worker now accepts requests with this revision."""
        self._rpc.send(RevisionServing(revision))

    async def drop(self, revision: int) -> None:
        """Close an application that was prepared, but will not serve."""
        if running_app := self._prepared.pop(revision, None):
            await running_app.close()
        self._remote_states.pop(revision, None)

    def reopen_logs(self) -> None:
        """Reopen the log files."""
        if self._outputs is not None:
            self._outputs.reopen()

    async def close(self) -> None:
        """Close the applications that never served, and write the last lines of the log."""
        for revision in list(self._prepared):
            await self.drop(revision)
        if self._outputs is not None:
            await asyncio.to_thread(self._outputs.close)

    def _remote_state(self, revision: int) -> RemoteState:
        if revision not in self._remote_states:
            self._remote_states[revision] = RemoteState(
                self._rpc, revision, self.newest_completions
            )
        return self._remote_states[revision]

    def _on_drained(self, revision: int) -> None:
        self._remote_states.pop(revision, None)
        self._rpc.send(RevisionDrained(revision))

    def _configure_log(self, config: Config) -> None:
        """Apply the settings of the log. Raises OSError if that fails the first time."""
        labels = {"worker": self.number}
        try:
            self._outputs = log.configure_logging(
                config.log, self._redactor, outputs=self._outputs, labels=labels
            )
        except OSError as error:  # unlikely: the master has just opened the same files
            if self._outputs is None:
                raise
            _log.error("log_not_changed", reason=error.strerror)
        self._redactor.renew(config.secrets())
