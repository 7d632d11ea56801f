"""Carries messages between the master and its workers."""
