"""Connects to Fitten, the upstream: no other package knows its protocol."""
