"""Checks the images of a conversation, and fetches those at an address."""
