"""Sends HTTP requests to Fitten and reads the responses."""
