"""What the master keeps for all workers."""
