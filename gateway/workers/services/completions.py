"""Ends a completion when a newer one of the same caller and file begins, in whichever worker."""

from __future__ import annotations

from gateway.fitten.completion.supersede import ActiveCompletion, CompletionKey, NewestCompletions
from gateway.workers.rpc.messages import RpcMessage
from gateway.workers.rpc.peer import RpcPeer


class CompletionBegan(RpcMessage, frozen=True):
    """Reports that a completion is now the newest of this caller and file.

    completion: its number in this worker.
    """

    completion: int
    caller: str | None
    filename: str


class CompletionEnded(RpcMessage, frozen=True):
    """Reports that a completion has ended."""

    completion: int


class CompletionSuperseded(RpcMessage, frozen=True):
    """Tells that another worker has a newer completion of the same caller and file."""

    completion: int


class CompletionsServer:
    """Tracks the completions of one worker, and tells it of newer ones in other workers.

    newest: the newest completion of each caller and file, for all workers: the server of its
        worker, and the completion's number in that worker.
    """

    def __init__(
        self, rpc: RpcPeer, newest: dict[CompletionKey, tuple[CompletionsServer, int]]
    ) -> None:
        self._rpc = rpc
        self._newest = newest
        self._keys: dict[int, CompletionKey] = {}
        rpc.register(
            {CompletionBegan: self._on_begin, CompletionEnded: self._on_end},
            on_lost=self._end_all,
        )

    def supersede(self, completion: int) -> None:
        """Tell the worker that this completion is not the newest any more."""
        self._rpc.send(CompletionSuperseded(completion))

    def _on_begin(self, message: CompletionBegan) -> None:
        self._keys[message.completion] = key = message.caller, message.filename
        older = self._newest.get(key)
        self._newest[key] = self, message.completion
        if older is not None and older[0] is not self:  # else the worker ends it itself
            older[0].supersede(older[1])

    def _on_end(self, message: CompletionEnded) -> None:
        self._end(message.completion)

    def _end(self, completion: int) -> None:
        key = self._keys.pop(completion, None)
        if key is not None and self._newest.get(key) == (self, completion):
            del self._newest[key]

    def _end_all(self) -> None:
        for completion in list(self._keys):
            self._end(completion)


class NewestCompletionsClient(NewestCompletions):
    """Tracks the newest completions of all workers, in one of them.

    Reports the completions of this worker to the master, which ends older ones in other workers.
    """

    def __init__(self, rpc: RpcPeer) -> None:
        super().__init__()
        self._rpc = rpc
        self._numbers: dict[ActiveCompletion, int] = {}
        self._open: dict[int, ActiveCompletion] = {}
        rpc.register({CompletionSuperseded: self._on_superseded})

    def begin(self, active: ActiveCompletion) -> None:
        super().begin(active)
        number = self._rpc.next_call_id()
        self._numbers[active], self._open[number] = number, active
        self._rpc.send(CompletionBegan(number, *active.key))

    def over(self, active: ActiveCompletion) -> None:
        super().over(active)
        number = self._numbers.pop(active)
        del self._open[number]
        self._rpc.send(CompletionEnded(number))

    def _on_superseded(self, message: CompletionSuperseded) -> None:
        if active := self._open.get(message.completion):
            active.end()
