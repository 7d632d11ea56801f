"""Writes the log: lines, sinks, masking of secrets, tracebacks."""
