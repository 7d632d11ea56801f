"""Implements the admin API, what it needs of a node, and the command line's client of it."""
