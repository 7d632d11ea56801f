"""Several accounts as one: who serves a request, who waits, who is left alone for a while.

Knows nothing of what an account says to the upstream: it holds a session of any kind.
"""
