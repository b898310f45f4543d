"""Benchmarks of the federation's arithmetic beside Flower's, on the same data in the same run.

The `flwr_*.py` files are programs for the peers' venv and are never imported here.
"""
