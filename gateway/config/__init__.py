"""Reads the configuration: files, secrets, typed settings."""
