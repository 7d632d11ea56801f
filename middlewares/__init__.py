"""Holds the bundled middlewares, one per file; the file's name is its name in config.yaml."""
