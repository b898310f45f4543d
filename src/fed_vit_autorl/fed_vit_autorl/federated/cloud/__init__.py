"""The aggregator's side of the federation: intake, durable state, rounds and stores of large updates."""
