"""Defines what dialects and the upstream exchange: requests, pieces, outcomes. No I/O."""
