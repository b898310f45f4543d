"""Secure aggregation between real vehicles: its messages over MQTT, the vehicle's part and the aggregator's."""
