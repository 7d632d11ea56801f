"""Implements Ollama's dialect."""
