"""What stands in for the road: the embedded world, the adapters to real and simulated vehicles, recordings."""
