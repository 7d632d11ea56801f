"""Processes, sockets and connections; knows no dialect and nothing of Fitten."""
