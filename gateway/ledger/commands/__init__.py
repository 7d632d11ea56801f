"""Implements the commands usage, requests and db: `command_line` declares, `command` runs them."""
