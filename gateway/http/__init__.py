"""Serves requests over HTTP: routing, errors, body, handler, stream."""
