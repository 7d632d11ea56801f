"""The gateway under faults, signals and long load, and its books afterwards."""
