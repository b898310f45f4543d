"""The vehicle's part in the federation: a lifecycle node around the library's client, and its training process."""
