"""Answers the routes of the admin API, one resource a module.

A handler gets an `AdminCall` whose parameters and body are checked already. It returns a message
for a JSON answer, None for 204, or a response of its own.
"""
