"""What a request passes: routing, errors, body, handler, stream."""
