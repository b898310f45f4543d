"""Adversarial drives through the embedded world; every failure is reproducible by its episode's number."""
