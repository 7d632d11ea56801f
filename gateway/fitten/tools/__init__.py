"""Tools over an upstream that has only text: written into the prompt, read from the answer."""
