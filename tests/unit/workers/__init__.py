"""Several processes as one gateway: their channel, and what the master keeps."""
