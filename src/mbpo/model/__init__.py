"""The learned world: an ensemble, how it is fitted, and branches imagined through it."""
