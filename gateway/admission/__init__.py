"""Admits requests under their limits, and records each of them in the ledger."""
