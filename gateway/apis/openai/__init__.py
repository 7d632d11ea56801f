"""Implements OpenAI's dialect."""
