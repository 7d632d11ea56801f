"""Implements the commands of those who run a gateway, and the client of its admin API.

`command_line` declares them. `target` finds the gateway, and `connection` speaks HTTP to it. If
none runs, `offline` changes the store itself. Neither imports aiohttp: a command begins at once.
"""
