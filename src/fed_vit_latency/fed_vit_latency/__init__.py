"""The latency monitor as a node."""
