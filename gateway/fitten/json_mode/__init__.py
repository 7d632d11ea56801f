"""Provides answers that should be JSON: instructions, fences, checks, one repeat."""
