"""Several processes as one gateway: the line between them, and what the parent keeps."""
