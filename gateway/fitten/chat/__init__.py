"""Renders the prompt of a chat and decodes its answer from bytes to pieces."""
