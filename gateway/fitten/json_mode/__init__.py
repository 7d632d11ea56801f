"""Answers that have to be JSON."""
