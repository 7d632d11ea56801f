"""Provides tools over text: writes them into the prompt and parses calls in the answer."""
