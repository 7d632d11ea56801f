"""Measures the ledger: its queries, and the gateway while its database is locked."""
