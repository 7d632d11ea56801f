"""Serves with several processes: one master and its workers.

The master (`master`) opens the listening sockets and serves no request itself. Its supervisor
(`supervisor`) starts the workers (`process` is the master's side of one worker, `worker` the
process itself), watches them and restarts them. Each worker accepts connections from the
inherited sockets (`accept`) and has one application per configuration (`revisions`).

The master keeps the state that all workers share: accounts, rate-limit windows, the newest
completions. A worker asks for them over its own channel (`rpc`), by one service for each kind of
state (`services`). So limits are exact, however the requests are spread over the workers.
"""
