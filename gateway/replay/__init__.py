"""Reads recorded answers again: `reader` reads, `test_case` writes a test, `command` prints."""
