"""Writes tools, calls and results into the prompt."""
