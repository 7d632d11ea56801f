"""Provides the state that all workers share: the master's side and the workers' side."""
