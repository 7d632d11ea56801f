"""Several processes as one gateway.

A parent (`parent.py`) listens and serves nothing: it starts workers, which take connections from
the sockets it hands them, and keeps what there is once (`coordinator.py`): the accounts with
their slots and tokens, and the windows in which requests are counted. Each worker asks it over
a link of its own, so that limits are exact however the requests are spread.
"""
