"""Measures what the gateway costs; see README.md."""
