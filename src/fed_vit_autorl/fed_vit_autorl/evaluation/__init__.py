"""Metrics of perception, prediction, driving, cloning and federation; free of torch."""
