"""Federated vision transformers and reinforcement learning for fleets of vehicles.

A plain Python library: no ROS, no MQTT client and no web server are imported by its algorithms.
"""
