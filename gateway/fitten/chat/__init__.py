"""A chat: the prompt, and the answer from bytes to pieces."""
