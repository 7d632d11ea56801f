"""Holds what was recorded during a run, and checks that all of it agrees."""
