"""The safety shield as a node."""
