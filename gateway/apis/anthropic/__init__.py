"""Implements Anthropic's dialect."""
