"""The ways in which the upstream fails, at each moment where it can: see `table`."""
