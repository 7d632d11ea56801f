"""One chat's request and response on a pooled connection."""
