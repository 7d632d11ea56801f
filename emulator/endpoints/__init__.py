"""Serves the HTTP calls of Fitten, each module a group of them."""
