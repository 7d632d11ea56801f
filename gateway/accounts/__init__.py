"""Shares several accounts among requests: selection, queue, health and retry budget.

Does not know how an account talks to its upstream: the session of an account can be of any kind
(`AccountSession`).
"""
