"""What was written down during a run, and whether all of it agrees."""
