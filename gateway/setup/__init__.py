"""Connects clients to a gateway: the commands "setup" and "run".

`clients` lists the clients that `agents`, `editors`, `chats` and `programs` describe, each with
`snippet`s for a `target`. `probe` asks a running gateway. `command` prints, `launch` starts.
"""
