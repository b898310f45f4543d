"""Vehicles and models without cars: simulations, chaos runs and tests put them through the real protocol."""
