"""Implements the admin API: who may ask, its routes, and how bodies and answers are read and made.

`resources/` has the handlers. `routes` is the one table of all routes.
"""
