"""Keeps one row per admitted request, and sums of them by day.

Each process appends lines to files of its own in `spool`; nothing on the path of a request
touches SQL. One thread, that of `service`, moves them into the database. `queries` reads it.
"""
