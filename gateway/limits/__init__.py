"""Decides how much keys, teams and the whole gateway may use. No HTTP, no SQL, no I/O.

`meter` decides, `queue` adds a line in front of it, `expectation` learns what to reserve.
"""
