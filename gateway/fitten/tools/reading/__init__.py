"""Reads the calls that a model writes, in any notation, while they arrive."""
