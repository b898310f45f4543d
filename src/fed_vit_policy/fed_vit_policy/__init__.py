"""The driving policy's node."""
