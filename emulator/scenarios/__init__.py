"""Defines the scenarios of a chat: what a marker in the prompt makes the emulator do."""
