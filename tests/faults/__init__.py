"""Tests every failure of the upstream at each moment where it can happen: see `table`."""
