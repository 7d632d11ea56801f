"""The configuration: files, secrets, typed settings."""
