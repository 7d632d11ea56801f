"""Pictures in a conversation: what they are, and fetching those at an address."""
