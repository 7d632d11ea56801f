"""Prepares the applications of a worker: one for each revision that the master sends."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable

import structlog

from gateway.app import CONFIG, build_app, hand_over
from gateway.config.settings import Config, ConfigError
from gateway.ledger.ledger import Ledger
from gateway.limits.expectation import Expectation
from gateway.observability import logging as log
from gateway.redaction import Redactor, os_error_text
from gateway.server.entrypoint import Entrypoint, RunningApp
from gateway.server.listeners import limits_of
from gateway.server.node_ledger import process_ledger
from gateway.workers.services.composition import RemoteState, WorkerClients

_log = structlog.get_logger("workers")


class Revisions:
    """Prepares an application for each revision, and switches the entrypoint to it.

    number: the number of the worker, for the log.
    drain_timeout: `server.drain_timeout` of the current revision, in seconds.
    on_drained: called with a revision when its last request has ended.
    """

    def __init__(
        self, entrypoint: Entrypoint, clients: WorkerClients, on_drained: Callable[[int], None]
    ) -> None:
        self._entrypoint = entrypoint
        self._clients = clients
        self._report_drained = on_drained
        self.number = 0
        self.drain_timeout = 0.0
        self._prepared: dict[int, RunningApp] = {}
        self._current = 0
        self._redactor = Redactor()
        self._outputs: log.LogOutputs | None = None
        self._ledger: Ledger | None = None
        self._ledger_fault: str | None = None  # of the master or another worker
        self._expectation = Expectation()

    @property
    def loses_rows(self) -> bool:
        """Return whether this worker cannot write rows to its spool now."""
        return self._ledger is not None and self._ledger.loses_rows()

    def set_ledger_degraded(self, degraded: bool) -> None:
        """Set whether the master cannot write rows, or a worker of it."""
        self._ledger_fault = "the ledger of this machine" if degraded else None

    def set_number(self, number: int) -> None:
        """Set the number of the worker, before the first revision is prepared."""
        self.number = number

    async def prepare(self, revision: int, settings: bytes) -> str:
        """Start an application that gets no requests yet.

        settings: a pickled `Config`.
        Returns why that is not possible; "" if it is.
        """
        try:
            config: Config = pickle.loads(settings)
            for secret in config.secrets():
                self._redactor.add(secret)
            if self._outputs is None:
                self._configure_log(config)
            if self._ledger is None:
                name = f"worker-{self.number}"
                self._ledger = process_ledger(config, name, lambda: self._ledger_fault)
            shared = RemoteState(self._clients, revision, self._ledger, self._expectation)
            if not self._current:
                shared.configure(config)
            app = build_app(
                config, self._entrypoint.in_flight, shared, on_secret=self._redactor.add
            )
            self._prepared[revision] = await self._entrypoint.start_app(app)
        except OSError as error:
            return await self._failure(os_error_text(error))
        except ConfigError as error:
            _log.error("worker_not_ready", mistakes=error.mistakes)
            return await self._failure("a middleware cannot be built; see the log")
        except Exception as error:  # a middleware may raise anything when it starts
            _log.error("worker_not_ready", exc_info=error)
            return await self._failure(f"{type(error).__name__}; see the log")
        return ""

    async def _failure(self, reason: str) -> str:
        if self._outputs is not None:  # the master may end this process at once
            await asyncio.to_thread(self._outputs.flush)
        return reason

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
            self._entrypoint.apply_limits(limits_of(config))

    async def drop(self, revision: int) -> None:
        """Close an application that was prepared, but will not serve."""
        if running_app := self._prepared.pop(revision, None):
            await running_app.close()
        self._clients.accounts.forget(revision)

    def reopen_logs(self) -> None:
        """Reopen the log files."""
        if self._outputs is not None:
            self._outputs.reopen()

    async def close(self) -> None:
        """Close the applications that never served, and write the last lines of the log."""
        for revision in list(self._prepared):
            await self.drop(revision)
        if self._ledger is not None:
            self._ledger.close()
        if self._outputs is not None:
            await asyncio.to_thread(self._outputs.close)

    def _on_drained(self, revision: int) -> None:
        self._clients.accounts.forget(revision)
        self._report_drained(revision)

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
