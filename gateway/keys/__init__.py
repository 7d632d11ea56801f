"""Holds keys, teams and grants that are made at run time."""
