"""Carries requests and notifications between two processes; knows no service.

`channel` sends whole messages over a socket. `peer` is one end with its handlers. `messages` has
those of the RPC itself. `error_record` is the form in which errors are sent.
"""
