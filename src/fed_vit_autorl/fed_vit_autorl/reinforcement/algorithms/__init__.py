"""Reinforcement learning on raw modules, so that what is learned federates as plain state dicts."""
