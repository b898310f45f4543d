"""Federated learning: updates and their stages, strategies, rounds, durable state and the transport protocol."""
