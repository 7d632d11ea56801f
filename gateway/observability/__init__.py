"""Logs: lines, sinks, masking of secrets, tracebacks."""
