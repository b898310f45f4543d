"""What travels between vehicle and aggregator: topics, messages, bounds, lossy transfers, the MQTT link."""
