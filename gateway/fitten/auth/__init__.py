"""Tokens of an account: login, refresh, repeats with renewed ones."""
