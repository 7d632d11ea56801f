"""Runs the gateway under faults, signals and long load, and reconciles the records afterwards."""
