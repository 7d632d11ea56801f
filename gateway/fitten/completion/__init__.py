"""Completes code at the cursor: request, answer, superseded requests."""
