"""Hostile bytes for every decoder that faces the network."""
