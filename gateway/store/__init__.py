"""State that outlives a request: counts in windows, tokens on disk."""
