"""A vehicle's side of the federation: training, updates, outbox, uplink and releases."""
