"""Provides the tokens of an account: login, refresh, repeated calls with new tokens."""
