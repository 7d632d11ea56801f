"""Measures how well tools are called through an OpenAI-compatible endpoint."""
