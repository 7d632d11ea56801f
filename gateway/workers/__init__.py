"""Serves with several processes: one master and its workers.

The master (`master`) opens the listening sockets and serves no request itself. Its supervisor
(`supervisor`) starts the workers (`process` is the master's side of one worker, `worker` the
process itself), watches them and restarts them. Each worker accepts connections from the
inherited sockets (`accept`) and has one application per configuration (`revisions`).

The master keeps the state that all workers share: the accounts of each configuration with
slots and tokens (`services.accounts`), and the rate-limit windows and the newest completions
(`rpc.server`). A worker asks for them over its own channel (`rpc`, `services.remote_state`). So
limits are exact, however the requests are spread over the workers.
"""
