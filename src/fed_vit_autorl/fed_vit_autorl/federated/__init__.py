"""Federated learning: updates and their stages, strategies, and both ends of the real protocol.

`vehicle` and `cloud` never import each other; what both know is in `protocol` and in the modules of this folder.
"""
