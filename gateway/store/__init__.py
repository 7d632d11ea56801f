"""Stores what outlives a request: request counts in memory, tokens on disk."""
