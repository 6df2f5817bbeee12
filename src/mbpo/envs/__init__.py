"""Gymnasium's environments: making them, what the algorithms know of them, when they end."""
