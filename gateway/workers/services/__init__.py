"""Shares the state of the master with the workers: one file per service.

The file of a service has its messages, its server side and its client side. The server side runs
in the master, the client side in a worker. `composition` puts all services together. `control` is
the service by which the master controls its workers.
"""
