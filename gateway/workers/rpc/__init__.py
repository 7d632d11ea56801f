"""Messages between the master and its workers."""
