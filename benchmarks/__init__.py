"""What the gateway costs, measured; see README.md."""
