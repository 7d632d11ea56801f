"""The upstream: the only package that knows Fitten."""
