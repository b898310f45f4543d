"""The same learning in one process, and inside other frameworks."""
